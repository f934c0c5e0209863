/*
 * Texts and files from the web: HTTP and HTTPS through libcurl, one transfer at a time.
 *
 * A download goes to a part file, which a later call, of this process or another, goes on with:
 * it asks for the rest only (Range), on the condition that the server still has what the part
 * began with (If-Range with the ETag, or the date of change). Address and condition lie beside the
 * part in PART.from; a part of unknown or other origin is begun anew, as it is when the server
 * sends the whole file all the same. Whether the bytes are the wanted ones is the caller's to
 * check: of a server that names neither ETag nor date, the rest may be of another file.
 *
 * Certificates are verified (by those of the system, or of the file that the variable SSL_CERT_FILE
 * names), proxies taken from the environment as libcurl documents
 * (https_proxy, no_proxy, ...), redirections followed a few times and never to another protocol
 * than is allowed. Nothing is sent but the request: no cookies, no credentials, no ~/.netrc.
 */
#ifndef BASE_HTTP_H
#define BASE_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

struct http_options {
    const char *user_agent;
    bool is_plain_allowed; /* http:// too; otherwise https:// alone, also after a redirection */
    int timeout_s;         /* for connecting, and for every pause: less than 100 bytes a second is
                            * one; >= 1 */
    int n_retries;         /* further tries after a failure that may pass: a broken transfer, a
                            * timeout, HTTP 408, 425, 429 and 5xx */
    int backoff_ms;        /* before the first of them, twice as long before each next one, 30 s at
                            * most; a server's Retry-After counts where it is longer */

    /* Called about once a second and as data comes, while waiting too. `total` is -1 where the
     * server has not said it. False ends the transfer with ST_INTERRUPTED. May be NULL. */
    bool (*progress)(void *arg, int64_t done, int64_t total);
    /* Called before each further try. May be NULL. */
    void (*retry)(void *arg, const char *why, double wait_s);
    void *arg;
};

struct http;

/* A client; options are copied, arg must outlive it. ST_UNSUPPORTED: this libcurl
 * lacks a protocol; ST_NOMEM. */
MUST_CHECK enum status http_open(const struct http_options *o, struct http **ret,
                                 struct error *err);
void http_close(struct http *h);

/*
 * Fetch an address whole: into *ret (cleared first; the caller releases), or into the file `part`,
 * resumed as said above. More than max_bytes are refused.
 *
 * On success the part file holds everything and PART.from is gone; the file is neither synced nor
 * renamed. On failure it keeps what came, if anything, for a later call. The message names the
 * address.
 *
 * ST_NOT_FOUND: HTTP 404 or 410. ST_INVALID: not an address, a protocol that is not allowed, or
 * too large. ST_INTERRUPTED: progress() said so. ST_IO: the rest: no such host, no answer, TLS,
 * another HTTP status, a part that cannot be written. A host that could not be reached is not asked
 * again by this client. One process at a time may write a part: that is the caller's to see to.
 */
MUST_CHECK enum status http_get(struct http *h, const char *url, int64_t max_bytes, struct buf *ret,
                                struct error *err);
MUST_CHECK enum status http_download(struct http *h, const char *url, const char *part,
                                     int64_t max_bytes, struct error *err);

/* Remove a part file and what lies beside it, if they are there. */
void http_discard(const char *part);

#endif
