// SPDX-License-Identifier: MIT
/*
 * Act: one case of the area client, played by a helper (bad.h) that the client started itself. Runs
 * in a process of its own, which is tuck-conform --misbehave=NAME; its verbs are those that make the
 * helper misbehave. What a case says about the client that is judged (client.h) means nothing here.
 */
#pragma once
#include "cmd/tuck-conform/engine.h"

/** Plays the case, or without one a helper that is right in everything, on stdin and stdout. Entries
 * and outputs are kept in `directory`; `words` are those that stood behind the options. Does not
 * return. */
__attribute__((noreturn)) void act_run(const struct setup *setup, const struct script_case *one,
                                       const char *directory, char *const *words);

/** The case with this id, or with this name: what stands before the colon of its title. */
const struct script_case *act_find(const struct script *script, const char *name);

verb_function verb_announce, verb_say, verb_await, verb_answer, verb_bend, verb_serve, verb_over,
    verb_hang, verb_read_on, verb_exit, verb_die, verb_shut, verb_pour, verb_swell, verb_trickle,
    verb_leave_child, verb_descriptors, verb_arguments;
