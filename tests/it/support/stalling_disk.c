/* A stalling disk. Preloaded into a process, it blocks every call on a file below STALL_DISK while
 * the file STALL_ALL exists, and fsync and fdatasync while STALL_SYNC exists. The names of the
 * threads it blocks are appended to STALL_THREADS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *disk, *all, *sync_only, *threads;

__attribute__((constructor)) static void read_environment(void) {
    disk = getenv("STALL_DISK");
    all = getenv("STALL_ALL");
    sync_only = getenv("STALL_SYNC");
    threads = getenv("STALL_THREADS");
}

static int stalls(int syncs) {
    return access(all, F_OK) == 0 || (syncs && access(sync_only, F_OK) == 0);
}

static void note_thread(void) {
    char name[17] = {0};
    prctl(PR_GET_NAME, name);
    strcat(name, "\n");
    long file = syscall(SYS_openat, AT_FDCWD, threads, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_write, (int)file, name, strlen(name));
    syscall(SYS_close, (int)file);
}

static void block(const char *path, int syncs) {
    if (!disk || !stalls(syncs) || strncmp(path, disk, strlen(disk)) != 0) return;
    note_thread();
    while (stalls(syncs)) usleep(5000);
}

static void block_file(int file, int syncs) {
    char link[32], path[4096];
    if (!disk || !stalls(syncs)) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    block(path, syncs);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t length) {
    block_file(file, 0);
    return REAL(write)(file, data, length);
}
ssize_t writev(int file, const struct iovec *data, int count) {
    block_file(file, 0);
    return REAL(writev)(file, data, count);
}
int fsync(int file) {
    block_file(file, 1);
    return REAL(fsync)(file);
}
int fdatasync(int file) {
    block_file(file, 1);
    return REAL(fdatasync)(file);
}
int ftruncate64(int file, off64_t length) {
    block_file(file, 0);
    return REAL(ftruncate64)(file, length);
}
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    block(path, 0);
    return REAL(open64)(path, flags, mode);
}
int rename(const char *from, const char *to) {
    block(from, 0);
    return REAL(rename)(from, to);
}
int unlink(const char *path) {
    block(path, 0);
    return REAL(unlink)(path);
}
int mkdir(const char *path, mode_t mode) {
    block(path, 0);
    return REAL(mkdir)(path, mode);
}
