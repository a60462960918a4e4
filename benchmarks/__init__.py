"""How fast the product is beside the best set-up of a peer, as ratios in one run on one machine.

`review`, `training`, `generation` and `evaluation` are commands and say what they measure. `our_app` and `label_studio`
are the two sides of the first; `contestants` has ours and the peers of training and generation; `measuring` is shared.
"""
