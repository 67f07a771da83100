"""Ask for the head of some URLs, all at once; print those that do not answer, with the reason.

Arguments: urls, ca (PEM text of further authorities to trust).
"""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from trust import trusting

TIMEOUT = 10  # seconds


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
    trust = trusting(ca)
    with ThreadPoolExecutor(16) as pool:
        found = zip(urls, pool.map(lambda url: problem(url, trust), urls), strict=True)
        return {url: reason for url, reason in found if reason}


if __name__ == "__main__":
    print(json.dumps(problems(**json.loads(sys.argv[1]))))
