"""The driver that makes a router and calls it. It runs where the student's code lives and must stand alone."""

from __future__ import annotations


def drive_router(student, weight, top_k, options, xs, convert, need, slopes, strided):
    """For each x what the router says of it (None for what it does not say), x as it is then, and gradients.

    ``convert`` is a dtype for the module. ``need`` names the fields of which failures count: a function of the notebook
    that fails otherwise is stood in for, by what says nothing. ``slopes`` has a factor for each field of which the
    gradients are asked, of the field times the factor: [that of x, that of the gate], or None.
    """
    import torch

    class NoGate(Exception):
        pass

    class NoBackward(Exception):
        pass

    experts, d_model = weight.shape
    fields = ("weights", "indices", "logits", "load_balancing_loss", "z_loss")
    makers = {
        "weights": "top_k_gates",
        "indices": "top_k_gates",
        fields[3]: "load_balancing_loss",
        "z_loss": "router_z_loss",
    }
    failed, given = {}, {}

    def least_experts(logits, *args, **kwargs):
        indices = logits.argsort(-1)[..., :top_k]
        return torch.full(indices.shape, torch.nan, dtype=logits.dtype), indices, logits.softmax(-1)

    def guarded(name, function, stand_in):
        def call(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            except Exception as error:
                failed[name] = error
                return stand_in(*args, **kwargs)

        return call

    def parts_of(out):
        """(name, value) of everything that a result holds."""
        if isinstance(out, (torch.Tensor, float)):
            return [("", out)]
        if hasattr(out, "_asdict"):
            out = out._asdict()
        elif not isinstance(out, (dict, tuple, list)):
            out = getattr(out, "__dict__", {})
        pairs = out.items() if isinstance(out, dict) else (("", part) for part in out)
        return [(f"{key}{name}", part) for key, value in pairs if value is not out for name, part in parts_of(value)]

    def read(out):
        """The five fields: by their names, or else by what they look like."""
        found = {name: out.get(name) if isinstance(out, dict) else getattr(out, name, None) for name in fields}
        if None not in found.values():
            return found
        used = [id(value) for value in found.values() if value is not None]
        for name, part in parts_of(out):
            if id(part) in used or (isinstance(part, torch.Tensor) and "prob" in name.lower()):
                continue
            scalar = isinstance(part, float) or (part.numel() == 1 and part.dim() < 2)
            if scalar:
                order = fields[:2:-1] if "z" in name.lower() else fields[3:]
            elif not part.is_floating_point():
                order = ["indices"]
            elif top_k == experts and bool((part < 0).any()):
                order = ["logits", "weights"]
            else:
                order = ["weights"] * (part.shape[-1] == top_k) + ["logits"] * (part.shape[-1] == experts)
            free = next((field for field in order if found[field] is None), None)
            if free:
                found[free] = part
        return found

    def backward(value, factor, x, gate):
        x.grad = gate.grad = None
        if value is None or not value.requires_grad or value.numel() != factor.numel():
            return [None, None]
        try:
            (value * factor.reshape(value.shape)).sum().backward(retain_graph=True)
        except RuntimeError as error:
            if "inplace" not in str(error):
                raise
            raise NoBackward from error
        return [None if t.grad is None else t.grad.clone() for t in (x, gate)]

    for name, stand_in in (
        ("top_k_gates", least_experts),
        ("load_balancing_loss", lambda *args, **kwargs: None),
        ("router_z_loss", lambda *args, **kwargs: None),
    ):
        if callable(vars(student).get(name)):
            given[name] = vars(student)[name]
            vars(student)[name] = guarded(name, given[name], stand_in)
    try:
        try:
            router = student.TopKRouter(d_model, experts, top_k, **options)
        except TypeError:  # renormalize has no default, perhaps: that is judged with the parameters
            router = student.TopKRouter(d_model, experts, top_k, **{"renormalize": True, **options})
        gate = getattr(getattr(router, "gate", None), "weight", None)
        parameters = list(router.named_parameters())
        if not isinstance(gate, torch.Tensor) or sorted(gate.shape) != sorted(weight.shape):
            gates = [p for _, p in parameters if p.dim() == 2 and sorted(p.shape) == sorted(weight.shape)]
            if len(gates) != 1:
                raise NoGate
            gate = gates[0]
        gate.data = (weight if gate.shape == weight.shape else weight.mT).clone()
        for _, parameter in parameters:
            if parameter is not gate and parameter.shape == weight.shape[:1]:  # a bias that should not be there
                parameter.data = torch.zeros_like(parameter)
        if convert:
            router = router.to(getattr(torch, convert))
        answers = []
        for x in xs:
            if strided:
                x = x.transpose(0, 1).contiguous().transpose(0, 1)
            if slopes:
                x = x.clone().requires_grad_()
            found = read(router(x))
            for field in need:
                if makers.get(field) in failed:
                    raise failed[makers[field]]
            for field in fields[3:]:
                if isinstance(found[field], (int, float)):
                    found[field] = torch.tensor(float(found[field]), dtype=getattr(found["logits"], "dtype", None))
            gradients = [backward(found[field], factor, x, gate) for field, factor in slopes.items()]
            said = [part.detach() if isinstance(part, torch.Tensor) else None for part in found.values()]
            answers.append((*said, x.detach(), gradients))
        return answers
    finally:
        vars(student).update(given)
