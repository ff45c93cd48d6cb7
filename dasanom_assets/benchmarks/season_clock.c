/* A clock of the day that can be set, for the processes of `dasanom bench season`: they add to the system's what the
   file SEASON_CLOCK holds, seconds as 64 bits. Clocks that only go on, by which programs wait, stay as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long none = 0;
static const volatile long *ahead = &none;
static int (*clock_of_system)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  clock_of_system = dlsym(RTLD_NEXT, "clock_gettime");
  const char *path = getenv("SEASON_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (page != MAP_FAILED) ahead = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  if (!clock_of_system) clock_of_system = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = clock_of_system(clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  now->tv_sec = found.tv_sec;
  now->tv_usec = found.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *seconds) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (seconds) *seconds = found.tv_sec;
  return found.tv_sec;
}
