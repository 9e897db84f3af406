"""The fast twin of :mod:`deltarule.reference`, compiled by Numba, and nothing else.

Who does what:

=================  ==========================================================================
compile            how a function here is compiled, cached on disk and announced
vector             the machine's vectors as values; the two register-blocked inner kernels
products           the three matrix products of a layer, by own kernels or by BLAS
exponentials       e^x, ln(1 + t) and the normal tail, which the compiler can vectorise
elementwise        sigma and sigma' over a buffer
output             the cost of each sample and BP1
feedback           what carries the error back: the transpose, another matrix, or a function
passes             one forward pass, one backward pass, the gradients
update             the optimisers, over the flat vector of parameters
watch              the figures of the error's flow in a step
train              steps and epochs: shuffle, gather, passes, update, watch for the non-finite
=================  ==========================================================================

Parameters live in one flat vector ``theta`` and every layer's values in flat buffers; small integer
arrays say where each layer starts. Activation, cost and optimiser are integer codes, looked up outside
the inner loops. So one compilation for each dtype serves every network.
"""
