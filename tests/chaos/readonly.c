/* Lets the processes that preload it see files that nobody can write: READONLY_FILES is the beginning of their
   paths, and holds while the file READONLY_WHILE exists. What is open already cannot be written either, as when
   a kernel that has met a bad disk sets the file system to read-only under everybody. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int refused_path(const char *path) {
    const char *files = getenv("READONLY_FILES"), *marker = getenv("READONLY_WHILE");
    return files && marker && strncmp(path, files, strlen(files)) == 0 && access(marker, F_OK) == 0;
}

static int refused(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    if (!refused_path(path)) return 0;
    errno = EROFS;
    return 1;
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    return refused(file) ? -1 : syscall(SYS_pwrite64, file, data, size, offset);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    return pwrite64(file, data, size, offset);
}

ssize_t write(int file, const void *data, size_t size) {
    return refused(file) ? -1 : syscall(SYS_write, file, data, size);
}

int ftruncate64(int file, off64_t length) {
    return refused(file) ? -1 : syscall(SYS_ftruncate, file, length);
}

int ftruncate(int file, off_t length) {
    return ftruncate64(file, length);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && refused_path(path)) {
        errno = EROFS;
        return -1;
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));
