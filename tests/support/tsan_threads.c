/* C11 threads for ThreadSanitizer, which knows pthreads only (gcc 12): librdkafka's threads crash without this. In
 * glibc both have the same types behind them (nptl/thrd_create.c and others), so each call goes on to its pthread twin,
 * which the sanitizer watches. Linked into the unit tests of the tsan preset. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

struct start {
    thrd_start_t fn;
    void *arg;
};

static void *run(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    return (void *)(intptr_t)s.fn(s.arg);
}

static int outcome(int rc)
{
    return rc == 0 ? thrd_success : thrd_error;
}

int thrd_create(thrd_t *t, thrd_start_t fn, void *arg)
{
    struct start *s = malloc(sizeof *s);
    if (!s) return thrd_nomem;
    *s = (struct start){fn, arg};
    return outcome(pthread_create(t, NULL, run, s));
}

int thrd_join(thrd_t t, int *ret)
{
    void *result = NULL;
    int rc = pthread_join(t, &result);
    if (rc == 0 && ret) *ret = (int)(intptr_t)result;
    return outcome(rc);
}

int thrd_detach(thrd_t t)
{
    return outcome(pthread_detach(t));
}

int mtx_init(mtx_t *m, int type)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    if (type & mtx_recursive) pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    int rc = pthread_mutex_init((pthread_mutex_t *)m, &a);
    pthread_mutexattr_destroy(&a);
    return outcome(rc);
}

int mtx_lock(mtx_t *m)
{
    return outcome(pthread_mutex_lock((pthread_mutex_t *)m));
}

int mtx_trylock(mtx_t *m)
{
    return pthread_mutex_trylock((pthread_mutex_t *)m) == 0 ? thrd_success : thrd_busy;
}

int mtx_unlock(mtx_t *m)
{
    return outcome(pthread_mutex_unlock((pthread_mutex_t *)m));
}

void mtx_destroy(mtx_t *m)
{
    pthread_mutex_destroy((pthread_mutex_t *)m);
}

int cnd_init(cnd_t *c)
{
    return outcome(pthread_cond_init((pthread_cond_t *)c, NULL));
}

int cnd_signal(cnd_t *c)
{
    return outcome(pthread_cond_signal((pthread_cond_t *)c));
}

int cnd_broadcast(cnd_t *c)
{
    return outcome(pthread_cond_broadcast((pthread_cond_t *)c));
}

int cnd_wait(cnd_t *c, mtx_t *m)
{
    return outcome(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict until)
{
    int rc = pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until);
    return rc == 0 ? thrd_success : rc == ETIMEDOUT ? thrd_timedout : thrd_error;
}

void cnd_destroy(cnd_t *c)
{
    pthread_cond_destroy((pthread_cond_t *)c);
}
