"""dgtl: fast deployment of deep networks by deep Gaussian transfer learning.

Sun et al., *Fast and Efficient DNN Deployment via Deep Gaussian Transfer Learning*, ICCV 2021.
Importing this package imports none of TensorFlow, TVM, W&B and Hydra; each lives in its own corner
(see CONTRIBUTING.md).
"""

__version__ = "0.1.0"
