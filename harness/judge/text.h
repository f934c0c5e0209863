/*
 * What programs wrote, made fit to store and show: the last bytes of a stream, as valid UTF-8
 * with control bytes made visible.
 */
#ifndef HARNESS_JUDGE_TEXT_H
#define HARNESS_JUDGE_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { TAIL_BYTES = 2048 };

/* The last TAIL_BYTES of a stream. A zeroed struct is empty. */
struct tail {
    char ring[TAIL_BYTES];
    uint64_t n_total; /* bytes ever added */
};

void tail_add(struct tail *t, const char *data, size_t len);

/*
 * Write data as one NUL-terminated UTF-8 string that fits out[size]. Bytes that are not UTF-8
 * read \xNN, control characters (but for newline and tab) and those that reorder text \uNNNN.
 * What does not fit is dropped from the front when is_end_kept, else from the back.
 */
void text_visible(const char *data, size_t len, int is_end_kept, char *out, size_t size);

/* text_visible() of a tail, keeping its end. */
void tail_visible(const struct tail *t, char *out, size_t size);

#endif
