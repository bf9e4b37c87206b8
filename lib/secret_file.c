/* Read with read(2): stdio would keep a copy in a buffer of its own, which nobody wipes. */
#include "lib/secret_file.h"

#include "lib/err.h"
#include "lib/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int read_all(int fd, struct buf *out)
{
    char part[4096];
    ssize_t n;
    int rc = 0;
    while (!rc && (n = read(fd, part, sizeof(part))) != 0) {
        if (n < 0 && errno == EINTR) continue;
        rc = n < 0 ? ERR_IO : buf_add(out, part, (size_t)n);
    }
    secret_wipe(part, sizeof(part));
    return rc;
}

int secret_file_read(const char *path, struct buf *out, struct stat *ret_state)
{
    struct stat state;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
    int rc = fstat(fd, ret_state ? ret_state : &state) < 0 ? ERR_IO : read_all(fd, out);
    int error = errno;
    (void)close(fd); /* only read from */
    errno = error;
    return rc;
}
