#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Makes the C file behind clauses.h:  embed.py OUT SPEC.md CLOCK_LIBRARY CASE_FILE...
"""
import os, re, sys


def literal(text):
    """A C string literal, one line of the source for each line of the text."""
    lines = text.split("\n")
    out = []
    for number, line in enumerate(lines):
        raw = "".join(c if " " <= c <= "~" and c not in '"\\?' else "".join(f"\\{byte:03o}" for byte in c.encode())
                      for c in line)
        out.append(f'        "{raw}{chr(92) + "n" if number < len(lines) - 1 else ""}"')
    return "\n".join(out)


def clauses(content):
    """(id, text) of every clause of section 5: what a helper does."""
    for match in re.finditer(r"^- \*\*([A-Z]+-\d+)\*\* ", content, re.M):
        body = re.split(r"\n(?=- |\n|#)", content[match.end():], maxsplit=1)[0]
        text = re.sub(r"\]\(#[^)]*\)", "]", " ".join(body.split()))
        yield match[1], re.sub(r" \[[A-Z]-\d\d(, [A-Z]-\d\d)*\]$", "", text)


def main():
    out, spec, library, *files = sys.argv[1:]
    with open(spec, encoding="utf-8") as file:
        found = list(clauses(file.read()))
    with open(library, "rb") as file:
        clock = file.read()
    with open(out, "w", encoding="utf-8") as file:
        file.write("// Made by embed.py.\n#include \"cmd/tuck-conform/clauses.h\"\n\n"
                   "#pragma GCC diagnostic ignored \"-Woverlength-strings\"\n\n")
        file.write("const struct clause clauses[] = {\n")
        for name, text in found:
            file.write(f'    {{"{name}",\n{literal(text)}}},\n')
        file.write("};\nconst size_t clause_count = sizeof(clauses) / sizeof(clauses[0]);\n\n")
        file.write("const struct case_file case_files[] = {\n")
        for path in files:
            with open(path, encoding="utf-8") as source:
                file.write(f'    {{"cases/{os.path.basename(path)}",\n{literal(source.read())}}},\n')
        file.write("};\nconst size_t case_file_count = sizeof(case_files) / sizeof(case_files[0]);\n\n")
        file.write("const unsigned char clock_library[] = {\n")
        for at in range(0, len(clock), 24):
            file.write("    " + "".join(f"{byte}," for byte in clock[at:at + 24]) + "\n")
        file.write("};\nconst size_t clock_library_len = sizeof(clock_library);\n")


main()
