/*
 * What all processes of one pid namespace use, read from its own /proc by somebody outside.
 */
#ifndef HARNESS_JUDGE_USAGE_H
#define HARNESS_JUDGE_USAGE_H

#include <stdint.h>

struct usage {
    int64_t cpu_ns;    /* of those alive and of all they waited for; 10 ms steps */
    int64_t rss_bytes; /* sum of resident sizes: pages shared by fork count for each */
    int n_tasks;       /* processes and threads, without zombies */
};

/* procfd: the root of a /proc mount. 0 or an errno value. Processes that end meanwhile are
 * left out; what they used is then in their parent's numbers. */
int usage_read(int procfd, struct usage *ret);

/* Sum of proportional sizes (each page once), where the kernel lets us see them; the resident
 * size of those that hide. Slower: for when rss_bytes is above the limit. */
int64_t usage_read_pss(int procfd);

#endif
