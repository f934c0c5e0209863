/*
 * Counts, and on request fails, the allocations of the program under test. Link with
 * count_alloc_args (tests/engine/meson.build): calls of malloc and its kin in our own objects
 * come here, those inside shared libraries do not.
 */
#ifndef TESTS_ENGINE_COUNT_ALLOC_H
#define TESTS_ENGINE_COUNT_ALLOC_H

extern long alloc_count; /* calls so far that asked for memory */
extern long
    alloc_fail_at; /* the call with this number fails (alloc_count then being it); 0: none */

#endif
