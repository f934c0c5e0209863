/*
 * HTTP: against a server in a thread of its own, which plays one scripted answer a connection and
 * keeps what it was asked.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/http.h"

/* ---- the server ------------------------------------------------------------------------- */

enum { MAX_ANSWERS = 8 };

static struct {
    struct {
        const char *text;
        bool is_hanging; /* the connection stays open behind the text */
    } answers[MAX_ANSWERS];
    int n_answers;
    char requests[MAX_ANSWERS][4096];
    int n_requests;
    int listener, stop[2];
    int port;
    pthread_t thread;
} server;

/* False when the test is over. */
static bool wait_readable(int fd)
{
    struct pollfd p[2] = { { .fd = fd, .events = POLLIN },
                           { .fd = server.stop[0], .events = POLLIN } };

    return poll(p, 2, 20000) > 0 && !p[1].revents;
}

static void *serve(void *arg)
{
    (void)arg;
    for (int i = 0; i < server.n_answers && wait_readable(server.listener); i++) {
        int fd = accept(server.listener, NULL, NULL);
        char *request = server.requests[i];
        size_t len = 0;

        while (!strstr(request, "\r\n\r\n") && wait_readable(fd)) {
            ssize_t n = recv(fd, request + len, sizeof(server.requests[i]) - 1 - len, 0);

            if (n <= 0)
                break;
            len += (size_t)n;
        }
        server.n_requests = i + 1;
        if (server.answers[i].text)
            send(fd, server.answers[i].text, strlen(server.answers[i].text), MSG_NOSIGNAL);
        if (server.answers[i].is_hanging) {
            char byte;

            while (wait_readable(fd) && recv(fd, &byte, 1, 0) > 0)
                continue;
        }
        close(fd);
    }
    return NULL;
}

static void answer(const char *text)
{
    server.answers[server.n_answers++].text = text;
}

static void start(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);

    cr_assert_eq(pipe(server.stop), 0);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(server.listener >= 0);
    cr_assert_eq(bind(server.listener, (struct sockaddr *)&a, sizeof(a)), 0);
    cr_assert_eq(listen(server.listener, 8), 0);
    cr_assert_eq(getsockname(server.listener, (struct sockaddr *)&a, &len), 0);
    server.port = ntohs(a.sin_port);
    cr_assert_eq(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void finish(void)
{
    cr_assert_eq(write(server.stop[1], "x", 1), 1);
    pthread_join(server.thread, NULL);
    close(server.listener);
}

/* ---- the client ------------------------------------------------------------------------- */

static char dir[300], part[400], from[400];
static struct error err;
static int n_retries_seen;
static int64_t stop_at_bytes;

static bool on_progress(void *arg, int64_t done, int64_t total)
{
    (void)arg, (void)total;
    return done < stop_at_bytes;
}

static void on_retry(void *arg, const char *why, double wait_s)
{
    (void)arg, (void)wait_s;
    cr_log_info("%s", why);
    n_retries_seen++;
}

static struct http *open_client(bool is_plain, int n_retries)
{
    struct http_options o = { .user_agent = "desbench-test",
                              .is_plain_allowed = is_plain,
                              .timeout_s = 1,
                              .n_retries = n_retries,
                              .backoff_ms = 1,
                              .progress = on_progress,
                              .retry = on_retry };
    struct http *h = NULL;

    cr_assert_eq(http_open(&o, &h, &err), ST_OK, "%s", err.text);
    return h;
}

static const char *url_of(const char *path)
{
    static char url[2][200];
    static int next;

    snprintf(url[next ^= 1], sizeof(url[0]), "http://127.0.0.1:%d%s", server.port, path);
    return url[next];
}

static enum status download(int64_t max_bytes, int n_retries)
{
    struct http *h = open_client(true, n_retries);
    enum status st = http_download(h, url_of("/file"), part, max_bytes, &err);

    http_close(h);
    return st;
}

static void part_holds(const char *text)
{
    struct buf b = { 0 };
    struct error why = { 0 };

    cr_assert_eq(file_read(part, 1 << 20, &b, &why), ST_OK, "%s", why.text);
    cr_expect_str_eq(buf_str(&b), text);
    buf_release(&b);
}

static void leave_part(const char *text, const char *url, const char *validator)
{
    char origin[400];

    cr_assert_eq(file_write_atomic(part, text, strlen(text), &err), ST_OK);
    snprintf(origin, sizeof(origin), "%s\n%s\n", url, validator);
    cr_assert_eq(file_write_atomic(from, origin, strlen(origin), &err), ST_OK);
}

static bool asked(int i, const char *words)
{
    return i < server.n_requests && strstr(server.requests[i], words);
}

static void enter(void)
{
    const char *tmp = getenv("TMPDIR");
    static const char *const proxies[] = { "http_proxy", "all_proxy", "ALL_PROXY" };

    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++)
        unsetenv(proxies[i]);
    snprintf(dir, sizeof(dir), "%s/desbench-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(part, sizeof(part), "%s/file.part", dir);
    snprintf(from, sizeof(from), "%s/file.part.from", dir);
    stop_at_bytes = 1 << 30;
}

static void leave(void)
{
    char command[400];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(http, .init = enter, .fini = leave, .timeout = 60);

#define OK_HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n"
#define REST_HEAD "HTTP/1.1 206 Partial Content\r\nConnection: close\r\n"

/* ---- cases ------------------------------------------------------------------------------ */

Test(http, a_text_and_a_file_arrive_whole)
{
    struct buf b = { 0 };
    struct http *h;

    answer(OK_HEAD "Content-Length: 5\r\n\r\nhello");
    answer(OK_HEAD "Content-Length: 5\r\nETag: \"1\"\r\n\r\nworld");
    answer(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    answer(OK_HEAD "Content-Length: 0\r\n\r\n");
    start();
    h = open_client(true, 0);
    cr_assert_eq(http_get(h, url_of("/text"), 5, &b, &err), ST_OK, "%s", err.text);
    cr_expect_str_eq(buf_str(&b), "hello");
    cr_assert_eq(http_download(h, url_of("/file"), part, 100, &err), ST_OK, "%s", err.text);
    part_holds("world");
    cr_expect_not(file_exists(from));
    cr_assert_eq(http_get(h, url_of("/chunks"), 5, &b, &err), ST_OK, "%s", err.text);
    cr_expect_str_eq(buf_str(&b), "abcde");
    cr_assert_eq(http_download(h, url_of("/file"), part, 100, &err), ST_OK, "%s", err.text);
    part_holds("");
    http_close(h);
    finish();
    cr_expect(asked(0, "GET /text HTTP/1.1\r\n") && asked(0, "User-Agent: desbench-test\r\n"));
    for (int i = 0; i < 4; i++) /* the bytes as they are, and nothing of ours told */
        cr_expect_not(asked(i, "Accept-Encoding") || asked(i, "Range") || asked(i, "Cookie") ||
                      asked(i, "Authorization"));
    buf_release(&b);
}

Test(http, a_broken_transfer_goes_on_where_it_broke)
{
    answer(OK_HEAD "Content-Length: 10\r\nETag: \"v1\"\r\n\r\n0123");
    answer(REST_HEAD "Content-Range: bytes 4-9/10\r\nETag: \"v1\"\r\nContent-Length: 6\r\n\r\n45");
    answer(REST_HEAD
           "Content-Range: bytes 6-9/10\r\nETag: \"v1\"\r\nContent-Length: 4\r\n\r\n6789");
    start();
    cr_assert_eq(download(10, 2), ST_OK, "%s", err.text);
    finish();
    part_holds("0123456789");
    cr_expect_not(file_exists(from));
    cr_expect_eq(n_retries_seen, 2);
    cr_expect(asked(1, "Range: bytes=4-\r\n") && asked(1, "If-Range: \"v1\"\r\n"));
    cr_expect(asked(2, "Range: bytes=6-\r\n"));
}

Test(http, a_later_call_goes_on_with_what_an_earlier_one_left)
{
    answer(OK_HEAD "Content-Length: 6\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n\r\n012");
    answer(REST_HEAD "Content-Range: bytes 3-5/6\r\nContent-Length: 3\r\n\r\n345");
    start();
    cr_assert_eq(download(10, 0), ST_IO);
    cr_expect(strstr(err.text, url_of("/file")), "%s", err.text);
    part_holds("012");
    cr_expect(file_exists(from));
    cr_assert_eq(download(10, 0), ST_OK, "%s", err.text);
    finish();
    part_holds("012345");
    cr_expect(asked(1, "If-Range: Sun, 22 Nov 2026 10:00:00 GMT\r\n"));
}

Test(http, a_server_that_sends_everything_is_begun_anew)
{
    answer(OK_HEAD "Content-Length: 3\r\nETag: \"v2\"\r\n\r\nnew");
    start();
    leave_part("old bytes that are longer", url_of("/file"), "\"v1\"");
    cr_assert_eq(download(100, 0), ST_OK, "%s", err.text);
    finish();
    part_holds("new");
    cr_expect(asked(0, "Range: bytes=25-\r\n") && asked(0, "If-Range: \"v1\"\r\n"));
}

Test(http, the_rest_of_something_else_is_not_taken)
{
    /* a wrong place, a wrong version although If-Range was said, and no such place */
    answer(REST_HEAD "Content-Range: bytes 0-5/6\r\nContent-Length: 6\r\n\r\nabcdef");
    answer(OK_HEAD "Content-Length: 6\r\nETag: \"v2\"\r\n\r\nghi");
    answer(REST_HEAD "Content-Range: bytes 3-5/6\r\nETag: \"v3\"\r\nContent-Length: 3\r\n\r\nxyz");
    answer(OK_HEAD "Content-Length: 6\r\nETag: \"v3\"\r\n\r\nuvw");
    answer("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    answer(OK_HEAD "Content-Length: 6\r\n\r\nuvwxyz");
    start();
    leave_part("abc", url_of("/file"), "\"v1\"");
    cr_assert_eq(download(100, 5), ST_OK, "%s", err.text);
    finish();
    part_holds("uvwxyz");
    cr_expect(asked(0, "Range: bytes=3-"));
    cr_expect_not(asked(1, "Range:"));
    cr_expect(asked(2, "If-Range: \"v2\""));
    cr_expect_not(asked(3, "Range:"));
    cr_expect(asked(4, "If-Range: \"v3\""));
    cr_expect_not(asked(5, "Range:"));
}

Test(http, a_part_of_another_or_unknown_address_is_begun_anew)
{
    answer(OK_HEAD "Content-Length: 3\r\n\r\nnew");
    answer(OK_HEAD "Content-Length: 3\r\n\r\nnew");
    answer(OK_HEAD "Content-Length: 3\r\n\r\nnew");
    start();
    leave_part("other bytes", url_of("/other"), "\"v1\"");
    cr_assert_eq(download(100, 0), ST_OK, "%s", err.text);
    part_holds("new");
    leave_part("other bytes", url_of("/file"), "");
    cr_assert_eq(file_write_atomic(from, "torn", 4, &err), ST_OK);
    cr_assert_eq(download(100, 0), ST_OK, "%s", err.text);
    part_holds("new");
    leave_part("other bytes", url_of("/file"), "\"v1\"");
    unlink(from);
    cr_assert_eq(download(100, 0), ST_OK, "%s", err.text);
    finish();
    part_holds("new");
    for (int i = 0; i < 3; i++)
        cr_expect_not(asked(i, "Range:"), "%d", i);
}

Test(http, statuses_are_told_and_only_passing_ones_tried_again)
{
    static const struct {
        const char *text;
        enum status st;
        int n_retries;
    } cases[] = {
        { "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage",
          ST_NOT_FOUND, 0 },
        { "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", ST_IO, 0 },
        { "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage", ST_OK, 1 },
        { "HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
          "Connection: close\r\n\r\n",
          ST_OK, 1 },
        { "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n"
          "Connection: close\r\n\r\nab",
          ST_IO, 0 },
        { NULL, ST_OK, 1 }, /* the connection closes at once */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t start_ns = clock_mono_ns();
        enum status st;

        memset(&server, 0, sizeof(server));
        n_retries_seen = 0;
        err.text[0] = '\0';
        answer(cases[i].text);
        answer(OK_HEAD "Content-Length: 2\r\n\r\nok");
        start();
        st = download(100, 1);
        finish();
        cr_expect_eq(st, cases[i].st, "%zu: %s", i, err.text);
        cr_expect_eq(n_retries_seen, cases[i].n_retries, "%zu", i);
        if (i == 0)
            cr_expect(strstr(err.text, "HTTP 404 (not found)"), "%s", err.text);
        if (i == 3)
            cr_expect(clock_mono_ns() - start_ns > 900000000, "Retry-After is heeded");
        if (!st)
            part_holds("ok");
        http_discard(part);
        cr_expect_not(file_exists(part));
    }
}

Test(http, too_many_bytes_are_refused_announced_or_not)
{
    answer(OK_HEAD "Content-Length: 11\r\n\r\n0123456789X");
    answer(OK_HEAD "\r\n0123456789X");
    answer(OK_HEAD "Content-Length: 10\r\n\r\n0123456789");
    start();
    cr_expect_eq(download(10, 3), ST_INVALID);
    cr_expect(strstr(err.text, "limit of 10 bytes"), "%s", err.text);
    cr_expect_eq(download(10, 3), ST_INVALID);
    cr_expect(strstr(err.text, "limit of 10 bytes"), "%s", err.text);
    http_discard(part);
    cr_expect_eq(download(10, 3), ST_OK, "%s", err.text);
    finish();
    cr_expect_eq(n_retries_seen, 0);
}

Test(http, redirections_are_followed_but_not_for_ever_nor_anywhere)
{
    char there[200], loop[200];
    struct http *h;

    answer(there);
    answer(OK_HEAD "Content-Length: 2\r\n\r\nok");
    answer("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n"
           "Connection: close\r\n\r\n");
    for (int i = 0; i < 5; i++)
        answer(loop);
    start();
    snprintf(
        there, sizeof(there),
        "HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage",
        url_of("/there"));
    snprintf(
        loop, sizeof(loop),
        "HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    cr_assert_eq(download(10, 0), ST_OK, "%s", err.text);
    part_holds("ok");
    http_discard(part);
    cr_assert_eq(download(10, 3), ST_IO);
    cr_expect(strstr(err.text, "redirected to 'file:///etc/passwd'"), "%s", err.text);
    cr_expect_not(file_exists(part), "nothing came");
    h = open_client(true, 3); /* one connection is missing for the end of the loop: 5 are served */
    cr_assert_neq(http_download(h, url_of("/file"), part, 10, &err), ST_OK);
    http_close(h);
    finish();
    cr_expect_eq(server.n_requests, 8);
    cr_expect(asked(1, "GET /there "));
}

Test(http, plain_http_needs_to_be_allowed)
{
    struct http *h = open_client(false, 3);
    static const char *const bad[] = {
        "http://127.0.0.1:9/x", "file:///etc/passwd",
        "ftp://127.0.0.1/x",    "",
        "no address",           "https://user:secret@127.0.0.1:9/x"
    };
    struct buf b = { 0 };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(http_get(h, bad[i], 10, &b, &err), ST_INVALID, "%s: %s", bad[i], err.text);
    cr_expect_eq(n_retries_seen, 0);
    http_close(h);
    buf_release(&b);
}

Test(http, a_silent_server_is_given_up_and_tried_again)
{
    int64_t start_ns = clock_mono_ns();

    server.answers[0].is_hanging = true;
    server.answers[1].is_hanging = true;
    server.answers[1].text = OK_HEAD "Content-Length: 4\r\nETag: \"1\"\r\n\r\n01";
    server.n_answers = 2;
    answer(REST_HEAD "Content-Range: bytes 2-3/4\r\nContent-Length: 2\r\n\r\n23");
    start();
    cr_assert_eq(download(10, 2), ST_OK, "%s", err.text);
    finish();
    part_holds("0123");
    cr_expect_eq(n_retries_seen, 2);
    cr_expect(clock_mono_ns() - start_ns < 20 * INT64_C(1000000000));
}

Test(http, a_host_out_of_reach_is_asked_once)
{
    struct buf b = { 0 };
    struct http *h;

    start(); /* a port that nobody listens on any more */
    finish();
    h = open_client(true, 3);
    cr_expect_eq(http_get(h, url_of("/a"), 10, &b, &err), ST_IO);
    cr_expect(strstr(err.text, url_of("/a")), "%s", err.text);
    cr_expect_eq(n_retries_seen, 0);
    cr_expect_eq(http_get(h, url_of("/b"), 10, &b, &err), ST_IO);
    cr_expect(strstr(err.text, "could not be reached before"), "%s", err.text);
    http_close(h);
    buf_release(&b);
}

Test(http, progress_may_end_a_transfer_and_the_part_stays)
{
    struct http *h;
    int64_t start_ns = clock_mono_ns();

    server.answers[0].text = OK_HEAD "Content-Length: 10\r\nETag: \"1\"\r\n\r\n0123";
    server.answers[0].is_hanging = true;
    server.n_answers = 1;
    start();
    stop_at_bytes = 4;
    h = open_client(true, 3);
    cr_expect_eq(http_download(h, url_of("/file"), part, 10, &err), ST_INTERRUPTED);
    cr_expect_eq(n_retries_seen, 0);
    part_holds("0123");
    cr_expect(file_exists(from));
    cr_expect(clock_mono_ns() - start_ns < 10 * INT64_C(1000000000));
    http_close(h);
    finish();
}

Test(http, a_part_that_cannot_be_written_is_named)
{
    struct http *h;

    answer(OK_HEAD "Content-Length: 8192\r\n\r\n0123456789");
    start();
    h = open_client(true, 3);
    cr_expect_eq(http_download(h, url_of("/file"), "/nonexistent/file.part", 10, &err), ST_IO);
    cr_expect(strstr(err.text, "'/nonexistent/file.part'"), "%s", err.text);
    cr_assert_eq(mkdir(part, 0777), 0);
    cr_expect_eq(http_download(h, url_of("/file"), part, 10, &err), ST_IO);
    cr_assert_eq(rmdir(part), 0);
    cr_assert_eq(symlink("/etc/passwd", part), 0);
    cr_expect_eq(http_download(h, url_of("/file"), part, 10, &err), ST_IO);
    cr_assert_eq(unlink(part), 0);
    cr_expect_eq(server.n_requests, 0);
    http_close(h);
    finish();
}
