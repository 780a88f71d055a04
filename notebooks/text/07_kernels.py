# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {minutes: 1, prerequisites: [02_tensors, 03b_variants], device: CPU or GPU}
# ---

# %% [markdown]
# # 07 · GPU kernels (GPU 算子)
#
# **1 minute to run · prerequisites: 02, 03b · device: CPU, by Triton's interpreter; a GPU is used if there is one**
#
# The production kernels are built in appendices: [where they run](appendix/07x_backend.ipynb),
# [fused kernels](appendix/07x_fused.ipynb), [matrix products](appendix/07x_matmul.ipynb),
# [FlashAttention](appendix/07x_tiled_attention.ipynb), [compiled without a GPU](appendix/07x_without_a_gpu.ipynb).

# %%
from cs336lite.backend import BACKEND, REASON
from cs336lite.course import finished

print(f"{BACKEND}: {REASON}")

# %%
finished("07_kernels")
