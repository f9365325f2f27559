/* What kubelet VERSION does with its command line, and no more of it: it keeps it in /run/kubelet, by its process id.

   A program and no script, so that its command line is to be seen where a kubelet's is. /run/kubelet/refuses can hold
   the beginning of flags that it refuses, and for how many seconds it goes on before it does. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int begins(const char *word, const char *with) { return !strncmp(word, with, strlen(with)); }

static int is_flag(const char *word, const char *flag) {
  return begins(word, flag) && (word[strlen(flag)] == '=' || !word[strlen(flag)]);
}

static void refuse(const char *word) {
  fprintf(stderr, "unknown flag: %.*s\n", (int)strcspn(word, "="), word);
  exit(1);
}

static void keep(const char *folder, int count, char **words) {
  char path[64];
  mkdir(folder, 0755);
  snprintf(path, sizeof path, "%s/new", folder);
  FILE *file = fopen(path, "w");
  if (!file) {
    perror(path);
    exit(1);
  }
  for (int i = 0; i < count; i++) fwrite(words[i], strlen(words[i]) + 1, 1, file);
  fclose(file);
  char name[64];
  snprintf(name, sizeof name, "%s/%d", folder, getpid());
  rename(path, name);
}

static void refuse_as_told(int count, char **words) {
  char refused[100];
  unsigned seconds;
  FILE *file = fopen("/run/kubelet/refuses", "r");
  if (!file || fscanf(file, "%99s %u", refused, &seconds) != 2) return;
  for (int i = 1; i < count; i++)
    if (begins(words[i], refused)) {
      sleep(seconds);
      refuse(words[i]);
    }
}

int main(int count, char **words) {
  int major, minor, shim = 0;
  sscanf(VERSION, "%d.%d", &major, &minor);
  int newest = !major; /* built without a version, of sources of today */
  for (int i = 1; i < count; i++) {
    if (!strcmp(words[i], "--version")) {
      puts("Kubernetes v" VERSION);
      return 0;
    }
    if (!strcmp(words[i], "--experimental-dockershim")) shim = 1;
    if (shim && (newest || minor > 18)) refuse(words[i]);
    if (is_flag(words[i], "--container-runtime") && (newest || minor >= 27)) refuse(words[i]);
  }
  keep(shim ? "/run/dockershim" : "/run/kubelet", count, words);
  if (shim) execlp("criproxy", "criproxy", "demo-runtime", "--listen", "/var/run/dockershim.sock", "--name", "docker", NULL);
  if (shim) return 1;
  refuse_as_told(count, words);
  for (;;) pause();
}
