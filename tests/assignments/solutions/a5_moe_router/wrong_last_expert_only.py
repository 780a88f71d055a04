"""The result of each expert takes the place of what the others have returned, for all tokens.

fails: dispatch.order_is_kept, dispatch.results_add_up, dispatch.gates_multiply_results, dispatch.calls_do_not_grow, dispatch.work_does_not_grow, dispatch.own_tokens_only, dispatch.nothing_is_dropped, dispatch.idle_experts, dispatch.any_dimensions, dispatch.dtype_of_x, dispatch.dispatch_has_gradients, dispatch.arguments_stay, dispatch.twice_in_a_row, dispatch.no_such_expert, dispatch.dispatch_together
names: tokens do not get the result of their own expert
points: 69
"""  # noqa: E501

from _base import *


def add(out, rows, y):
    return torch.zeros_like(out).index_add(0, rows, y.to(out.dtype))
