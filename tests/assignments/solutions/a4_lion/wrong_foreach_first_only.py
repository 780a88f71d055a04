"""Updates the first tensor of the list.

fails: foreach.lists_of_parameters_change, foreach.lists_of_momenta_change, foreach.operations_do_not_grow, foreach.lists_together
names: some parameters of the list
"""

from _base import *


_all = lion_update_foreach_


def lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay):
    _all(params[:1], grads[:1], momenta[:1], lr, betas, weight_decay)
