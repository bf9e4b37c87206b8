/* The rate is that of the whole run so far, and the time left follows from it; neither is told before the first is
 * done. */
#include "producer/progress.h"

#include "producer/table.h"

#include <string.h>
#include <unistd.h>

#define BAR     24
#define TELL_MS 10000
#define DRAW_MS 200

void progress_begin(struct progress *p, const char *what, size_t total, int64_t now_mono_ms)
{
    *p = (struct progress){.what = what,
                           .total = total,
                           .is_terminal = isatty(STDERR_FILENO) == 1,
                           .began_mono_ms = now_mono_ms,
                           .told_mono_ms = now_mono_ms};
}

void progress_text(const struct progress *p, size_t done, size_t failed, int64_t now_mono_ms, char *out, size_t size)
{
    char bar[BAR + 1], left[TABLE_TIME_MAX], rate[48] = "";
    size_t full = p->total ? done * BAR / p->total : BAR;
    int64_t took = now_mono_ms - p->began_mono_ms;
    memset(bar, '.', BAR);
    memset(bar, '#', full < BAR ? full : BAR);
    bar[BAR] = '\0';
    if (done && took > 0) {
        table_span((int64_t)((double)took / (double)done * (double)(p->total - done)), left);
        snprintf(rate, sizeof rate, ", %.1f/s, %s left", (double)done * 1000 / (double)took, left);
    }
    char bad[40] = "";
    if (failed) snprintf(bad, sizeof bad, ", %zu failed", failed);
    snprintf(out, size, "[%s] %zu/%zu %s%s%s", bar, done, p->total, p->what, bad, rate);
}

void progress_show(struct progress *p, size_t done, size_t failed, const char *note, int64_t now_mono_ms)
{
    char text[200];
    if (now_mono_ms - p->told_mono_ms < (p->is_terminal ? DRAW_MS : TELL_MS)) return;
    p->told_mono_ms = now_mono_ms;
    progress_text(p, done, failed, now_mono_ms, text, sizeof text);
    if (p->is_terminal)
        fprintf(stderr, "\r%s %.60s\033[K", text, note);
    else
        fprintf(stderr, "%s%s%s\n", text, *note ? "; " : "", note);
    p->drawn = p->is_terminal;
}

void progress_end(struct progress *p)
{
    if (p->drawn) fputs("\r\033[K", stderr);
    p->drawn = false;
}
