"""Evenhand's faces: the page in the browser and the command line."""

import os

# Read by Gradio when it is imported: nothing about the use of Evenhand leaves this computer.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
