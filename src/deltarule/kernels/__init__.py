"""The fast twin of :mod:`deltarule.reference`, compiled by Numba, and nothing else.

Who does what:

=================  ==========================================================================
compile            how a function here is compiled, cached on disk and announced
doors              parts are linked into the functions that Python calls, and compiled there once
layout, stretch    where everything stands in the flat buffers; a piece of one
blocks             the register-blocked inner kernels, in the machine's vectors
products           the three matrix products of a layer
lengths            BP2's second move, with the lengths of the error before and after it
exponentials       e^x, ln(1 + t) and the normal tail, which the compiler can vectorise
elementwise        sigma and sigma' over a buffer
output             the cost of each sample and BP1
feedback           what carries the error back: the transpose, another matrix, or a function
passes             one forward pass, one backward pass, the gradients
update             the optimisers, over the flat vector of parameters
watch              the figures of the error's flow in a step
team               threads that take the same steps together
train              steps and epochs: shuffle, gather, passes, update, watch for the non-finite
=================  ==========================================================================

Parameters live in one flat vector ``theta`` and every layer's values in flat buffers; small integer
arrays say where each layer starts. Activation, cost and optimiser are integer codes, looked up outside
the inner loops. So one compilation for each dtype serves every network.
"""
