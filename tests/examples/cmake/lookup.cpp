// SPDX-License-Identifier: MIT
/*
 * lookup: which of these actions does the build cache have?
 *
 *     GOCACHEPROG=tuck lookup <ids
 *
 * Reads action ids from stdin, 64 hexadecimal digits on a line, asks for all of them at once and prints, in the order
 * of the answers, each with the path of its output or "miss". One thread, and a loop around poll(): a program that has
 * such a loop already adds the client's descriptor to it.
 */
#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <list>
#include <poll.h>
#include <string>
#include <tuck/client.h>

namespace {

struct Request {
    std::string text;
    std::size_t *left;
};

// Called by tuck_client_dispatch(), for each request once.
void answered(void *arg, int status, const tuck_client_answer *answer, const tuck_client_error *error) {
    Request *request = static_cast<Request *>(arg);
    std::cout << request->text << ' ';
    if (status == TUCK_CLIENT_OK)
        std::cout << answer->path << '\n';
    else
        std::cout << "miss" << (error->code ? std::string(": ") + error->text : "") << '\n';
    --*request->left;
}

bool read_id(const std::string &text, std::array<uint8_t, TUCK_CLIENT_ID_BYTES> &id) {
    if (text.size() != 2 * id.size() || text.find_first_not_of("0123456789abcdef") != std::string::npos)
        return false;
    for (std::size_t i = 0; i < id.size(); i++)
        id[i] = static_cast<uint8_t>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    return true;
}

} // namespace

int main() {
    tuck_client_options options = TUCK_CLIENT_OPTIONS_INIT;
    tuck_client_request get = TUCK_CLIENT_REQUEST_INIT;
    tuck_client_error error;
    tuck_client *client = nullptr;
    std::list<Request> requests;
    std::size_t left = 0;

    options.command = std::getenv("GOCACHEPROG");
    options.flags = TUCK_CLIENT_NO_WAIT; // the handshake comes in the loop, too
    options.max_pending = 100000;
    if (tuck_client_open(&options, &client, &error) < 0) {
        std::cerr << "lookup: " << error.text << '\n';
        return 1;
    }
    get.command = TUCK_CLIENT_GET;
    for (std::string line; std::getline(std::cin, line);) {
        std::array<uint8_t, TUCK_CLIENT_ID_BYTES> id;
        if (!read_id(line, id)) {
            std::cerr << "lookup: '" << line << "' is no action id\n";
            continue;
        }
        get.action = id.data();
        requests.push_back({line, &left});
        left++;
        if (tuck_client_submit(client, &get, answered, &requests.back(), nullptr, &error) != TUCK_CLIENT_OK) {
            std::cerr << "lookup: " << error.text << '\n';
            left--;
        }
    }
    while (left > 0) {
        pollfd ready = {tuck_client_fd(client), POLLIN, 0};
        if (poll(&ready, 1, -1) > 0)
            tuck_client_dispatch(client, nullptr); // what fails, fails in the callbacks
    }
    tuck_client_close(client, nullptr);
    tuck_client_free(client);
    return 0;
}
