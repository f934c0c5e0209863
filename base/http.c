/*
 * HTTP through libcurl: the only file that knows it.
 *
 * fetch() makes tries until one succeeds or fails for good; attempt() is one request. libcurl
 * calls on_header() for each line of each response on the way (proxies, redirections), on_body()
 * for the body of the last one. What the body is can be told when its first bytes come:
 * begin_body() then decides from the status whether they continue the part, replace it or are an
 * error page.
 */
#include "base/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum {
    MAX_REDIRECTIONS = 5,
    SLOW_BYTES_PER_S = 100,
    MAX_WAIT_S = 30,
    VALIDATOR_SIZE = 256,
    FROM_BYTES_MAX = 16 << 10 /* of PART.from */
};

struct http {
    struct http_options o;
    CURL *curl;
    struct buf dead;                    /* "\nhttps://host:443\n...": could not be reached */
    char curl_message[CURL_ERROR_SIZE]; /* libcurl writes here until curl is cleaned up */
};

/* One address being fetched, over all its tries. */
struct transfer {
    struct http *h;
    const char *url;
    int64_t max_bytes;

    struct buf *text; /* where the body goes: here, */
    int fd;           /* or here, unless -1 */
    const char *part;
    char *from; /* path of PART.from */

    char validator[VALIDATOR_SIZE]; /* of what the part holds: an ETag or a date; "" if unknown */

    /* of the try under way */
    int64_t start, done, total; /* bytes there before, now, in all (-1: unknown) */
    bool is_begun, is_refused, is_too_large, is_stopped, is_other_range;
    struct error own; /* a failure of ours within a callback */

    /* of the response under way */
    char etag[VALIDATOR_SIZE], modified[VALIDATOR_SIZE];
    int64_t range_start, range_total;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started; /* set once, by start_curl() */

static void start_curl(void)
{
    curl_started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- what libcurl calls ----------------------------------------------------------------- */

/* The value of a header if the line is of that name: trimmed, short and printable; else false. */
static bool read_header(const char *line, size_t len, const char *name, char ret[VALIDATOR_SIZE])
{
    size_t n = strlen(name);

    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    line += n + 1;
    len -= n + 1;
    for (; len && (*line == ' ' || *line == '\t'); line++)
        len--;
    while (len && (unsigned char)line[len - 1] <= ' ')
        len--;
    if (len == 0 || len >= VALIDATOR_SIZE)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ' || (unsigned char)line[i] >= 0x7f)
            return false;
    memcpy(ret, line, len);
    ret[len] = '\0';
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t len = size * n;
    char value[VALIDATOR_SIZE];

    if (len >= 5 && strncasecmp(line, "HTTP/", 5) == 0) { /* another response begins */
        t->etag[0] = t->modified[0] = '\0';
        t->range_start = t->range_total = -1;
    } else if (read_header(line, len, "ETag", value)) {
        if (value[0] == '"') /* weak ones, W/"...", say nothing about bytes */
            memcpy(t->etag, value, sizeof(value));
    } else if (read_header(line, len, "Last-Modified", value)) {
        memcpy(t->modified, value, sizeof(value));
    } else if (read_header(line, len, "Content-Range", value)) {
        int64_t first, last, total;

        if (sscanf(value, "bytes %" SCNd64 "-%" SCNd64 "/%" SCNd64, &first, &last, &total) == 3) {
            t->range_start = first;
            t->range_total = total;
        } else if (sscanf(value, "bytes %" SCNd64 "-%" SCNd64 "/*", &first, &last) == 2) {
            t->range_start = first;
        }
    }
    return len;
}

static enum status part_error(struct transfer *t, struct error *err)
{
    return error_set(err, ST_IO, "cannot write '%s': %s", t->part, strerror(errno));
}

/* Empty the part and note beside it what is about to come. */
static enum status begin_part(struct transfer *t, struct error *err)
{
    struct buf b = { 0 };
    enum status st = ST_OK;

    memcpy(t->validator, t->etag[0] ? t->etag : t->modified, sizeof(t->validator));
    unlink(t->from);
    if (ftruncate(t->fd, 0) != 0)
        return part_error(t, err);
    buf_printf(&b, "%s\n%s\n", t->url, t->validator);
    if (!buf_ok(&b))
        st = error_set(err, ST_NOMEM, "out of memory fetching '%s'", t->url);
    if (!st)
        st = file_write_atomic(t->from, buf_str(&b), b.len, err);
    buf_release(&b);
    return st;
}

/* The response's status and headers are known: is its body what was asked for? */
static bool begin_body(struct transfer *t)
{
    long code = 0;
    curl_off_t len = -1;

    t->is_begun = true;
    curl_easy_getinfo(t->h->curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(t->h->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len);
    if (code == 206 && t->start > 0) {
        /* If-Range is not heeded everywhere */
        t->is_other_range = t->range_start != t->start || (t->validator[0] == '"' && t->etag[0] &&
                                                           strcmp(t->validator, t->etag) != 0);
        if (t->is_other_range)
            return false;
        t->done = t->start;
        t->total = t->range_total;
        if (t->total < 0 && len >= 0 && len <= INT64_MAX - t->start)
            t->total = t->start + len;
    } else if (code == 200) {
        t->start = t->done = 0;
        t->total = len;
        if (t->text)
            buf_clear(t->text);
        else if (begin_part(t, &t->own))
            return false;
    } else {
        t->is_refused = true;
        return false;
    }
    t->is_too_large = t->total > t->max_bytes;
    return !t->is_too_large;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t len = size * n, written = 0;

    if (!t->is_begun && !begin_body(t))
        return len ? 0 : 1; /* any other number than len ends the transfer */
    if ((int64_t)len > t->max_bytes - t->done) {
        t->is_too_large = true;
        return 0;
    }
    if (t->text) {
        buf_append(t->text, data, len);
        if (!buf_ok(t->text)) {
            error_set(&t->own, ST_NOMEM, "out of memory fetching '%s'", t->url);
            return 0;
        }
    }
    while (!t->text && written < len) {
        ssize_t k = pwrite(t->fd, data + written, len - written, t->done + (int64_t)written);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            part_error(t, &t->own);
            return 0;
        }
        written += (size_t)k;
    }
    t->done += (int64_t)len;
    return len;
}

static int on_progress(void *arg, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total,
                       curl_off_t ul_now)
{
    struct transfer *t = arg;
    const struct http_options *o = &t->h->o;

    (void)dl_total, (void)dl_now, (void)ul_total, (void)ul_now;
    t->is_stopped = o->progress && !o->progress(o->arg, t->done, t->total);
    return t->is_stopped;
}

/* ---- one try ---------------------------------------------------------------------------- */

static enum status set_interrupted(struct transfer *t, struct error *err)
{
    return error_set(err, ST_INTERRUPTED, "interrupted fetching '%s'", t->url);
}

/* How far the part has come, if it is of this address and can be gone on with: else from 0. */
static enum status find_start(struct transfer *t, struct error *err)
{
    struct stat sb;

    t->start = 0;
    if (t->text)
        return ST_OK;
    if (fstat(t->fd, &sb) != 0)
        return error_set(err, ST_IO, "cannot read '%s': %s", t->part, strerror(errno));
    if (file_exists(t->from))
        t->start = sb.st_size;
    return ST_OK;
}

static CURLcode set_request(struct transfer *t, struct curl_slist **headers)
{
    CURL *curl = t->h->curl;
    char range[32], condition[VALIDATOR_SIZE + 16];
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_URL, t->url);

    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_RANGE, NULL);
    if (!rc && t->start > 0) {
        snprintf(range, sizeof(range), "%" PRId64 "-", t->start);
        rc = curl_easy_setopt(curl, CURLOPT_RANGE, range);
        if (!rc && t->validator[0]) {
            snprintf(condition, sizeof(condition), "If-Range: %s", t->validator);
            *headers = curl_slist_append(NULL, condition);
            if (!*headers)
                rc = CURLE_OUT_OF_MEMORY;
        }
    }
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    if (!rc)
        rc = curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    return rc;
}

static const char *reason_of(long code)
{
    switch (code) {
    case 401: return " (not authorised)";
    case 403: return " (forbidden)";
    case 404: return " (not found)";
    case 410: return " (gone)";
    case 416: return " (no such range)";
    case 429: return " (too many requests)";
    default: return code >= 500 ? " (server error)" : "";
    }
}

/* May the failure pass by itself? A server that cannot be reached is not waited for. */
static bool is_passing_code(long code)
{
    return code == 408 || code == 425 || code == 429 || (code >= 500 && code <= 599);
}

static bool is_passing_failure(CURLcode rc)
{
    switch (rc) {
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_HTTP3:
    case CURLE_QUIC_CONNECT_ERROR: return true;
    default: return false;
    }
}

/* Scheme, host and port of an address, between newlines: what http.dead lists. */
static void put_host(const char *url, struct buf *ret)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;

    if (u && !curl_url_set(u, CURLUPART_URL, url, 0) &&
        !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
        !curl_url_get(u, CURLUPART_HOST, &host, 0) &&
        !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
        buf_printf(ret, "\n%s://%s:%s\n", scheme, host, port);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
}

static bool is_dead(const struct http *h, const char *url)
{
    struct buf host = { 0 };
    bool is = false;

    put_host(url, &host);
    if (host.len && buf_ok(&host))
        is = strstr(buf_str(&h->dead), buf_str(&host)) != NULL;
    buf_release(&host);
    return is;
}

/* The transfer ended with rc, not as wanted: say why. */
static enum status explain(struct transfer *t, CURLcode rc, bool *ret_passing, struct error *err)
{
    struct http *h = t->h;
    const char *why = h->curl_message[0] ? h->curl_message : curl_easy_strerror(rc);
    const char *last_url = NULL;
    long code = 0, n_redirections = 0;
    curl_off_t ready_us = 0; /* when a request could be sent; 0: it never could */

    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(h->curl, CURLINFO_REDIRECT_COUNT, &n_redirections);
    curl_easy_getinfo(h->curl, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    curl_easy_getinfo(h->curl, CURLINFO_EFFECTIVE_URL, &last_url);
    if (t->is_stopped)
        return set_interrupted(t, err);
    if (t->own.status)
        return error_set(err, t->own.status, "%s", t->own.text);
    if (t->is_too_large || rc == CURLE_FILESIZE_EXCEEDED)
        return error_set(err, ST_INVALID, "'%s' is larger than the limit of %" PRId64 " bytes",
                         t->url, t->max_bytes);
    if (t->is_other_range || (t->is_refused && code == 416)) {
        *ret_passing = true; /* the next try asks for everything */
        unlink(t->from);
        return error_set(err, ST_IO, "cannot resume '%s' at byte %" PRId64 ": HTTP %ld", t->url,
                         t->start, code);
    }
    if (t->is_refused) {
        *ret_passing = is_passing_code(code);
        return error_set(err, code == 404 || code == 410 ? ST_NOT_FOUND : ST_IO,
                         "cannot fetch '%s': HTTP %ld%s", t->url, code, reason_of(code));
    }
    if (rc == CURLE_OUT_OF_MEMORY)
        return error_set(err, ST_NOMEM, "out of memory fetching '%s'", t->url);
    if (rc == CURLE_UNSUPPORTED_PROTOCOL && n_redirections == 0 && code == 0)
        return error_set(err, ST_INVALID, "cannot fetch '%s': %s", t->url, why);
    if ((rc == CURLE_URL_MALFORMAT || rc == CURLE_LOGIN_DENIED) && n_redirections == 0 && code == 0)
        return error_set(err, ST_INVALID, "'%s' is not a web address: %s", t->url, why);
    *ret_passing = is_passing_failure(rc);
    if (rc == CURLE_COULDNT_RESOLVE_HOST || rc == CURLE_COULDNT_RESOLVE_PROXY ||
        rc == CURLE_COULDNT_CONNECT || (rc == CURLE_OPERATION_TIMEDOUT && ready_us == 0)) {
        *ret_passing = false;
        if (n_redirections == 0)
            put_host(t->url, &h->dead);
    }
    if (n_redirections > 0 && last_url)
        return error_set(err, ST_IO, "cannot fetch '%s', redirected to '%s': %s", t->url, last_url,
                         why);
    return error_set(err, ST_IO, "cannot fetch '%s': %s", t->url, why);
}

/* One request. *ret_passing: the failure may be gone at the next. */
static enum status attempt(struct transfer *t, bool *ret_passing, struct error *err)
{
    struct http *h = t->h;
    struct curl_slist *headers = NULL;
    enum status st = find_start(t, err);
    CURLcode rc;

    *ret_passing = false;
    if (st)
        return st;
    t->done = t->start;
    t->total = -1;
    t->is_begun = t->is_refused = t->is_too_large = t->is_stopped = t->is_other_range = false;
    t->own = (struct error){ 0 };
    h->curl_message[0] = '\0';
    rc = set_request(t, &headers);
    if (!rc)
        rc = curl_easy_perform(h->curl);
    if (!rc && !t->is_begun && !begin_body(t)) /* a body of no bytes */
        rc = CURLE_WRITE_ERROR;
    if (rc)
        st = explain(t, rc, ret_passing, err);
    /* libcurl keeps the list until it is told another */
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return st;
}

/* ---- tries ------------------------------------------------------------------------------ */

/* Wait, asking progress() meanwhile; false when it wants to stop. */
static bool wait_for(struct transfer *t, double wait_s)
{
    const struct http_options *o = &t->h->o;

    for (; wait_s > 0; wait_s -= 0.1) {
        double s = wait_s < 0.1 ? wait_s : 0.1;
        struct timespec ts = { 0, (long)(s * 1e9) };

        if (o->progress && !o->progress(o->arg, t->done, t->total))
            return false;
        nanosleep(&ts, NULL);
    }
    return true;
}

static double wait_before(struct http *h, int n_tries)
{
    double s = h->o.backoff_ms * 1e-3 * (double)(1 << (n_tries < 16 ? n_tries : 16));
    curl_off_t asked = 0;

    curl_easy_getinfo(h->curl, CURLINFO_RETRY_AFTER, &asked);
    if ((double)asked > s)
        s = (double)asked;
    return s < MAX_WAIT_S ? s : MAX_WAIT_S;
}

static enum status fetch(struct transfer *t, struct error *err)
{
    struct http *h = t->h;

    if (is_dead(h, t->url))
        return error_set(err, ST_IO, "cannot fetch '%s': its host could not be reached before",
                         t->url);
    for (int n_tries = 0;; n_tries++) {
        struct error why = { 0 };
        bool is_passing;
        enum status st = attempt(t, &is_passing, &why);
        double wait_s;

        if (!st)
            return ST_OK;
        if (!is_passing || n_tries >= h->o.n_retries)
            return error_set(err, st, "%s", why.text);
        wait_s = wait_before(h, n_tries);
        if (h->o.retry)
            h->o.retry(h->o.arg, why.text, wait_s);
        if (!wait_for(t, wait_s))
            return set_interrupted(t, err);
    }
}

enum status http_get(struct http *h, const char *url, int64_t max_bytes, struct buf *ret,
                     struct error *err)
{
    struct transfer t = { .h = h, .url = url, .max_bytes = max_bytes, .text = ret, .fd = -1 };

    buf_clear(ret);
    return fetch(&t, err);
}

/* ---- part files ------------------------------------------------------------------------- */

static char *from_path(const char *part)
{
    struct buf b = { 0 };

    buf_printf(&b, "%s.from", part);
    if (buf_ok(&b))
        return b.data;
    buf_release(&b);
    return NULL;
}

void http_discard(const char *part)
{
    char *from = from_path(part);

    unlink(part);
    if (from)
        unlink(from);
    free(from);
}

/* Is the part of this address? Then t->validator is what PART.from has; else the file goes. */
static enum status read_from(struct transfer *t, struct error *err)
{
    struct buf b = { 0 };
    enum status st = file_read(t->from, FROM_BYTES_MAX, &b, err);
    char *line = b.data, *end;
    bool is_ours = false;

    if (st == ST_NOMEM) {
        buf_release(&b);
        return st;
    }
    end = !st && line ? strchr(line, '\n') : NULL;
    if (end) {
        *end = '\0';
        is_ours = strcmp(line, t->url) == 0;
        line = end + 1;
        end = strchr(line, '\n');
        is_ours = is_ours && end && end - line < VALIDATOR_SIZE;
    }
    if (is_ours) {
        memcpy(t->validator, line, (size_t)(end - line));
        t->validator[end - line] = '\0';
    } else {
        unlink(t->from);
    }
    buf_release(&b);
    return ST_OK;
}

static enum status open_part(struct transfer *t, struct error *err)
{
    struct stat sb;

    t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (t->fd < 0)
        return part_error(t, err);
    if (fstat(t->fd, &sb) != 0 || !S_ISREG(sb.st_mode))
        return error_set(err, ST_IO, "cannot write '%s': not a regular file", t->part);
    return read_from(t, err);
}

enum status http_download(struct http *h, const char *url, const char *part, int64_t max_bytes,
                          struct error *err)
{
    struct transfer t = { .h = h, .url = url, .max_bytes = max_bytes, .fd = -1, .part = part };
    struct stat sb;
    enum status st;

    t.from = from_path(part);
    if (!t.from)
        return error_set(err, ST_NOMEM, "out of memory fetching '%s'", url);
    st = open_part(&t, err);
    if (!st)
        st = fetch(&t, err);
    if (!st)
        unlink(t.from);
    else if (t.fd >= 0 && fstat(t.fd, &sb) == 0 && sb.st_size == 0)
        http_discard(part);
    if (t.fd >= 0)
        close(t.fd);
    free(t.from);
    return st;
}

/* ---- clients ---------------------------------------------------------------------------- */

static CURLcode set_options(struct http *h)
{
    const struct http_options *o = &h->o;
    const char *protocols = o->is_plain_allowed ? "http,https" : "https";
    const char *ca_file = getenv("SSL_CERT_FILE");
    CURL *c = h->curl;
    CURLcode rc = curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->curl_message);

#define SET(option, value) (rc = rc ? rc : curl_easy_setopt(c, option, value))
    SET(CURLOPT_PROTOCOLS_STR, protocols);
    SET(CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, (long)MAX_REDIRECTIONS);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L); /* messages name addresses */
    SET(CURLOPT_USERAGENT, o->user_agent);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT, (long)o->timeout_s);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
    SET(CURLOPT_LOW_SPEED_TIME, (long)o->timeout_s);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_NOPROGRESS, 0L);
    if (ca_file && *ca_file)
        SET(CURLOPT_CAINFO, ca_file);
#undef SET
    return rc;
}

enum status http_open(const struct http_options *o, struct http **ret, struct error *err)
{
    struct http *h = calloc(1, sizeof(*h));
    CURLcode rc;

    pthread_once(&curl_once, start_curl);
    if (h && !curl_started)
        h->curl = curl_easy_init();
    if (!h || !h->curl) {
        http_close(h);
        return error_set(err, ST_NOMEM, "out of memory starting libcurl");
    }
    h->o = *o;
    rc = set_options(h);
    if (rc) {
        http_close(h);
        return error_set(err, rc == CURLE_OUT_OF_MEMORY ? ST_NOMEM : ST_UNSUPPORTED,
                         "libcurl %s cannot do this: %s", curl_version(), curl_easy_strerror(rc));
    }
    *ret = h;
    return ST_OK;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->curl);
    buf_release(&h->dead);
    free(h);
}
