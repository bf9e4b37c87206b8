/* One program, run by libuv (subprocess.h). libuv gives the child default signals and closes every descriptor that it
 * is not told to keep. The child leads a session of its own, so that a deadline also reaches what it started. Three
 * handles (process, pipe, timer) are closed one by one; the last one that closes completes the ticket. */
#include "lib/subprocess.h"

#include "lib/err.h"
#include "lib/loop.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <uv.h>

struct subprocess {
    uv_process_t process;
    uv_pipe_t in;
    uv_timer_t deadline;
    uv_write_t write;
    struct ticket t;
    struct subprocess_result result;
    int open; /* handles */
    bool ended;
    char input[];
};

static void closed(uv_handle_t *h)
{
    struct subprocess *p = h->data;
    if (--p->open) return;
    if (p->t.done) ticket_complete(p->t, &p->result);
    free(p);
}

static void close_all(struct subprocess *p)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&p->process, (uv_handle_t *)&p->in, (uv_handle_t *)&p->deadline};
    for (size_t i = 0; i < ARRAY_LEN(handles); i++)
        if (!uv_is_closing(handles[i])) uv_close(handles[i], closed);
}

static void kill_it(struct subprocess *p)
{
    if (!p->ended) (void)kill(-p->process.pid, SIGKILL); /* its exit is told all the same */
}

static void exited(uv_process_t *process, int64_t status, int signum)
{
    struct subprocess *p = process->data;
    p->ended = true;
    p->result.exit_status = signum ? -1 : (int)status;
    if (!p->result.err && (status || signum)) p->result.err = ERR_IO;
    close_all(p);
}

static void late(uv_timer_t *timer)
{
    struct subprocess *p = timer->data;
    p->result.err = ERR_TIMEOUT_SENT;
    kill_it(p);
}

/* Whether it read all does not count: its exit status does. */
static void written(uv_write_t *write, int status)
{
    struct subprocess *p = write->data;
    (void)status;
    if (!uv_is_closing((uv_handle_t *)&p->in)) uv_close((uv_handle_t *)&p->in, closed);
}

static int spawn(struct loop *l, const struct subprocess_options *o, struct subprocess *p)
{
    uv_stdio_container_t stdio[3] = {{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&p->in},
                                     {.flags = UV_IGNORE},
                                     {.flags = UV_IGNORE}};
    const uv_process_options_t po = {.exit_cb = exited,
                                     .file = o->argv[0],
                                     .args = (char **)(uintptr_t)o->argv, /* libuv changes neither */
                                     .env = (char **)(uintptr_t)o->env,
                                     .flags = UV_PROCESS_DETACHED,
                                     .stdio_count = 3,
                                     .stdio = stdio};
    return uv_spawn(loop_uv(l), &p->process, &po);
}

int subprocess_run(struct loop *l, const struct subprocess_options *o, struct ticket t, struct subprocess **ret)
{
    struct subprocess *p = calloc(1, sizeof(*p) + o->input_len);
    if (!p) return ERR_NOMEM;
    if (o->input_len) memcpy(p->input, o->input, o->input_len);
    p->process.data = p->in.data = p->deadline.data = p->write.data = p;
    (void)uv_timer_init(loop_uv(l), &p->deadline); /* neither can fail */
    (void)uv_pipe_init(loop_uv(l), &p->in, 0);
    p->open = 3;
    p->ended = true;
    int rc = spawn(l, o, p);
    if (rc < 0) {
        close_all(p);
        return rc == UV_ENOMEM ? ERR_NOMEM : ERR_IO;
    }
    p->ended = false;
    p->t = t;
    (void)uv_timer_start(&p->deadline, late, (uint64_t)o->timeout_ms, 0);
    uv_buf_t buf = uv_buf_init(p->input, (unsigned)o->input_len);
    if (uv_write(&p->write, (uv_stream_t *)&p->in, &buf, 1, written) < 0) uv_close((uv_handle_t *)&p->in, closed);
    *ret = p;
    return 0;
}

void subprocess_abandon(struct subprocess *p)
{
    if (!p) return;
    p->t.done = NULL;
    kill_it(p);
    close_all(p);
}
