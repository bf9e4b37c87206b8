/* Progress of long work: a bar with rate and time left on a terminal, one line every ten seconds elsewhere. On stderr.
 */
#ifndef KEYROLL_PROGRESS_H
#define KEYROLL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    const char *what; /* "rotated" */
    size_t total;
    bool is_terminal, drawn;
    int64_t began_mono_ms, told_mono_ms;
};
void progress_begin(struct progress *p, const char *what, size_t total, int64_t now_mono_ms);
/* done of total, failed among them. note: what is waited for, may be "". */
void progress_show(struct progress *p, size_t done, size_t failed, const char *note, int64_t now_mono_ms);
/* Clears the bar. */
void progress_end(struct progress *p);
/* "[#####.....]  12/50 rotated, 1 failed, 2.1/s, 18s left": the text alone. Pure. */
void progress_text(const struct progress *p, size_t done, size_t failed, int64_t now_mono_ms, char *out, size_t size);

#endif
