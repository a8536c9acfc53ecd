/* Keeps what a process has synced, for a test that then takes the power away.
 *
 * Preloaded before the C library. After every fsync and fdatasync of something below $POWER_ROOT its state goes to the
 * folder $POWER_KEPT, under the name of its inode and its moment of birth: a file's bytes as <inode>.<s>.<ns>.data, a
 * folder's names as <inode>.<s>.<ns>.names, a line "<inode>.<s>.<ns> <name>" each. Without $POWER_KEPT it does nothing.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int key_of(int folder, const char *name, int flags, char *key, size_t size)
{
    struct statx found;
    if (statx(folder, name, flags | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &found))
        return -1;
    snprintf(key, size, "%llu.%lld.%09u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
             found.stx_btime.tv_nsec);
    return 0;
}

static void keep_names(int fd, FILE *out)
{
    char link[64], key[96];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    DIR *folder = opendir(link);
    if (!folder)
        return;
    for (struct dirent *each; (each = readdir(folder));)
        if (strcmp(each->d_name, ".") && strcmp(each->d_name, "..") &&
            !key_of(dirfd(folder), each->d_name, 0, key, sizeof key))
            fprintf(out, "%s %s\n", key, each->d_name);
    closedir(folder);
}

static void keep_bytes(int fd, FILE *out)
{
    char link[64], buffer[65536];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int in = open(link, O_RDONLY | O_CLOEXEC);
    for (ssize_t got; in >= 0 && (got = read(in, buffer, sizeof buffer)) > 0;)
        fwrite(buffer, 1, (size_t)got, out);
    if (in >= 0)
        close(in);
}

static void keep(int fd)
{
    const char *root = getenv("POWER_ROOT"), *kept = getenv("POWER_KEPT");
    char link[64], path[PATH_MAX], key[96], target[PATH_MAX], aside[PATH_MAX];
    struct stat found;
    if (!root || !kept || fstat(fd, &found))
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || (path[length] = 0, strncmp(path, root, strlen(root))) || key_of(fd, "", AT_EMPTY_PATH, key, sizeof key))
        return;
    snprintf(target, sizeof target, "%s/%s.%s", kept, key, S_ISDIR(found.st_mode) ? "names" : "data");
    snprintf(aside, sizeof aside, "%s.%ld", target, (long)syscall(SYS_gettid));
    FILE *out = fopen(aside, "w");
    if (!out)
        return;
    if (S_ISDIR(found.st_mode))
        keep_names(fd, out);
    else
        keep_bytes(fd, out);
    fclose(out);
    rename(aside, target);
}

static int synced(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int answer = real(fd), number = errno;
    if (!answer)
        keep(fd);
    errno = number;
    return answer;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
