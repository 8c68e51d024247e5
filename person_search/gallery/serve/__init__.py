"""A local web page on which one drops a scene and looks for somebody in it.

``page`` is what it does, ``app`` how it looks (Gradio), ``gate`` what may be asked of the server.
"""
