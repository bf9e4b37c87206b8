/* Loaded into a redis-server before libc (LD_PRELOAD): the wall clock says what the file KEYROLL_SET_TIME holds, eight
 * bytes of microseconds since 1970 that its owner changes while the server waits for a command; or, with
 * KEYROLL_SET_TIME_BY, how far it is ahead of the real one. The monotonic clock is the real one, so timers go on. Redis
 * asks gettimeofday() for TIME, expiry and the scripts' time. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *set_us;
static int is_ahead;

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("KEYROLL_SET_TIME"), *by = getenv("KEYROLL_SET_TIME_BY");
    is_ahead = !path && by;
    if (is_ahead) path = by;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*set_us), PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) abort();
    close(fd);
    set_us = p;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    (void)zone;
    struct timespec real = {0};
    if (is_ahead) (void)clock_gettime(CLOCK_REALTIME, &real); /* cannot fail */
    int64_t us = *set_us + (int64_t)real.tv_sec * 1000000 + real.tv_nsec / 1000;
    *tv = (struct timeval){us / 1000000, us % 1000000};
    return 0;
}
