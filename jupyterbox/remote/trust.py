"""Whom the programs that fetch trust: the box's authorities, and the site's."""

import os
import ssl

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def trusting(ca):
    """Trust as after the deploy.

    On a box without any authorities everybody is believed: ca-certificates is about to be
    installed. Until then only hashes decide, and whether a server answers is all we can ask.
    """
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(cadata=ca)
    if not os.path.exists(CA_BUNDLE):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
