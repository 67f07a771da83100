"""Ask for the head of some URLs, all at once; print those that do not answer, with the reason.

Arguments: urls, ca (PEM text of further authorities to trust).
"""

import http.client
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TIMEOUT = 10  # seconds


def context(ca):
    """Trust as after the deploy; on a box without any authorities yet, trust nobody's absence."""
    trust = ssl.create_default_context()
    if ca:
        trust.load_verify_locations(cadata=ca)
    if not os.path.exists(CA_BUNDLE):
        # ca-certificates is about to be installed; whether the server answers is all we can ask.
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    return trust


def problem(url, trust):
    """Why a URL does not answer; None when it does."""
    if url.startswith("file:"):
        return None if os.path.exists(url[len("file://") :]) else "there is no such file"
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "jupyterbox"})
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT, context=trust).close()
    except urllib.error.HTTPError as error:
        if error.code == 404 or error.code >= 500:
            return f"{error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except OSError as error:
        return str(error)
    except http.client.HTTPException:
        return "it does not speak HTTP"
    return None


def problems(urls, ca):
    """The URLs that do not answer, with the reasons; all are asked at once."""
    trust = context(ca)
    with ThreadPoolExecutor(16) as pool:
        found = zip(urls, pool.map(lambda url: problem(url, trust), urls), strict=True)
        return {url: reason for url, reason in found if reason}


if __name__ == "__main__":
    print(json.dumps(problems(**json.loads(sys.argv[1]))))
