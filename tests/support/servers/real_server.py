"""A real HTTP server on a loopback port, for as long as a test wants it."""

import contextlib
import logging
import threading

from werkzeug.serving import make_server


@contextlib.contextmanager
def serving(app):
    """The URL at which an application answers meanwhile.

    Not waitress, whose loop cannot be ended from another thread without an error in it.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
