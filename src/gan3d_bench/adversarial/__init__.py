"""Training of a generator against a discriminator, for any method.

`step.AdversarialStep` does the updates; it is told what makes images and what is real.
"""
