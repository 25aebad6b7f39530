// SPDX-License-Identifier: MIT
/*
 * memo: runs a command and prints its output; the next time, prints it without running the command.
 *
 *     GOCACHEPROG=tuck memo dot -Tsvg graph.dot
 *
 * The outputs lie in whatever build cache GOCACHEPROG names. What a command reads besides its arguments
 * is not looked at: this is an example of the library, and no build system.
 */
#define _POSIX_C_SOURCE 200809L
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tuck/client.h>
#include <unistd.h>

// The action id: what the command is called. The text in front keeps it apart from the actions of
// others in the same cache.
static bool name_action(char **words, uint8_t action[TUCK_CLIENT_ID_BYTES]) {
    static const char salt[] = "example memo 1";
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool is_good = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) &&
                   EVP_DigestUpdate(digest, salt, sizeof(salt));
    for (; is_good && *words; words++)
        is_good = EVP_DigestUpdate(digest, *words, strlen(*words) + 1);
    is_good = is_good && EVP_DigestFinal_ex(digest, action, NULL);
    EVP_MD_CTX_free(digest);
    return is_good;
}

static bool copy(FILE *from, FILE *to) {
    char block[65536];
    size_t len;
    while ((len = fread(block, 1, sizeof(block), from)) > 0)
        if (fwrite(block, 1, len, to) != len)
            return false;
    return !ferror(from);
}

static bool print_file(const char *path) {
    FILE *file = fopen(path, "rb");
    bool is_good = file && copy(file, stdout);
    if (file)
        fclose(file);
    return is_good;
}

// Runs the command with its stdout in the file. Returns its exit status.
static int run_command(char **words, FILE *output) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fileno(output), STDOUT_FILENO);
        execvp(words[0], words);
        perror(words[0]);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
    struct tuck_client_options options = TUCK_CLIENT_OPTIONS_INIT;
    struct tuck_client *client = NULL;
    struct tuck_client_answer answer;
    struct tuck_client_error error;
    uint8_t action[TUCK_CLIENT_ID_BYTES];

    if (argc < 2 || !name_action(argv + 1, action)) {
        fputs("usage: memo COMMAND [ARGUMENT]...\n", stderr);
        return 2;
    }
    options.command = getenv("GOCACHEPROG");
    options.check = TUCK_CLIENT_CHECK_BYTES;
    if (!options.command || tuck_client_open(&options, &client, &error) < 0)
        fprintf(stderr, "memo: no cache: %s\n",
                options.command ? error.text : "GOCACHEPROG is not set");

    int exit_status = 0;
    if (client && tuck_client_get(client, action, &answer, NULL) == TUCK_CLIENT_OK) {
        if (!print_file(answer.path))
            exit_status = 1;
    } else {
        FILE *output = tmpfile();
        if (!output)
            return perror("memo"), 1;
        exit_status = run_command(argv + 1, output);
        // Only what has succeeded is worth remembering; and that it cannot be stored harms nobody.
        if (client && exit_status == 0 &&
            tuck_client_put_fd(client, action, fileno(output), &answer, &error) < 0)
            fprintf(stderr, "memo: not stored: %s\n", error.text);
        rewind(output);
        if (!copy(output, stdout))
            exit_status = 1;
        fclose(output);
    }
    if (client)
        tuck_client_close(client, NULL);
    tuck_client_free(client);
    return exit_status;
}
