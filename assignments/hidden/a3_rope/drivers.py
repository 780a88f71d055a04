"""The driver that makes an embedding and calls it. It runs where the student's code lives and must stand alone."""

from __future__ import annotations


def drive_rope(student, jobs, how, forms):
    """Makes an embedding for each job and calls it; ``how`` says what is looked at.

    Where a call raises an exception it is made again, with the same vectors in other ``forms``: "full" are positions for
    each vector of x, "any" further x of two, three or four dimensions; "as they are" makes no other call.
    """
    import torch

    kind, base = student.RotaryPositionalEmbedding, torch.nn.Module

    def in_rows(rope, x, positions):
        rows = zip(x.reshape(-1, *x.shape[-2:]), positions.reshape(-1, x.shape[-2]), strict=True)
        return torch.stack([rope(*row) for row in rows]).reshape(x.shape)

    def in_batches(rope, x, positions):
        several = x.reshape(-1, *x.shape[-2:])
        if x.dim() > 2:
            positions = positions.reshape(several.shape[:-1])
        return rope(several, positions).reshape(x.shape)

    def in_heads(rope, x, positions):
        several = x.reshape(-1, 1, *x.shape[-2:])
        if x.dim() > 2:
            positions = positions.reshape(several.shape[:-1])
        return rope(several, positions).reshape(x.shape)

    def turn(rope, x, positions):
        try:
            return rope(x, positions)
        except NotImplementedError:
            raise
        except Exception as error:
            if forms == "as they are":
                raise
            full = positions.expand(x.shape[:-1]).clone() if positions.shape != x.shape[:-1] else positions
            others = [lambda rope, x, positions: rope(x, positions)]
            others += [in_rows, in_batches, in_heads] if forms == "any" else []
            for other in others:
                try:
                    return other(rope, x, full)
                except Exception:
                    continue
            if forms == "any" and positions.dim() == 1:
                try:
                    return rope(x.reshape(-1, 1, *x.shape[-2:]), positions).reshape(x.shape)
                except Exception:
                    pass
            raise error

    found = []
    for arguments, options, calls in jobs:
        try:
            if how == "plain" or not (isinstance(kind, type) and issubclass(kind, base)):
                rope = kind(*arguments, **options)
            else:  # super().__init__() may be missing: judged by a check of its own
                rope = kind.__new__(kind, *arguments, **options)
                base.__init__(rope)
                rope.__init__(*arguments, **options)
        except NotImplementedError:
            raise
        except Exception as error:
            if how not in ("made", "kept"):
                raise
            found.append("ValueError" if isinstance(error, ValueError) else type(error).__name__)
            continue
        if how == "converted":
            rope = rope.to(torch.bfloat16)
        answers = []
        for x, positions, *weights in calls:
            try:
                if weights:
                    leaf = x.clone().requires_grad_()
                    answer = turn(rope, leaf * 1, positions)
                    gradient = None
                    if isinstance(answer, torch.Tensor) and answer.requires_grad and answer.shape == x.shape:
                        (answer * weights[0]).sum().backward()
                        gradient = leaf.grad
                    answer = [answer.detach() if isinstance(answer, torch.Tensor) else None, gradient]
                else:
                    answer = turn(rope, x, positions)
                    answer = answer if isinstance(answer, torch.Tensor) else None
                    if how == "unchanged":
                        answer = [answer, x, positions]
            except NotImplementedError:
                raise
            except Exception as error:
                if how == "made":
                    answer = None
                elif how == "refused":
                    refused = isinstance(error, (ValueError, IndexError))
                    answer = "refused" if refused else type(error).__name__
                else:
                    raise
            answers.append(answer)
        if how == "state":
            parameters = [name for name, _ in rope.named_parameters()]
            saved = [name for name in rope.state_dict() if name not in parameters]
            answers = [
                answers,
                len(parameters),
                len(saved),
                isinstance(answers[0], torch.Tensor) and answers[0].requires_grad,
            ]
        if how == "kept":
            tensors = [*rope.buffers(), *(value for value in vars(rope).values() if isinstance(value, torch.Tensor))]
            answers = [tensor.device.type for tensor in tensors][:8]
        found.append(answers)
    return found
