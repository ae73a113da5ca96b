"""fergan: which facial expressions does a face generator make?

Latents become faces (:mod:`fergan.stylegan`), faces become 48x48 grayscale (:mod:`fergan.data`), those become
expression probabilities (:mod:`fergan.classify`), and the probabilities become a report (:mod:`fergan.reports`).
:mod:`fergan.workflows` joins the four over files and is the only package that knows run folders and the command line.
"""

__version__ = "0.1.0"
