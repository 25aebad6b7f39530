// SPDX-License-Identifier: MIT
/*
 * The index under damage. The input is a small program, in text, that drives two handles on one index, as two helpers
 * would, and damages the file in between. Each command is a letter and numbers; what is missing is 0, what is unknown
 * is skipped. `sealed`: with a right checksum around it.
 *
 *     r h k n    record n actions from k on, through handle h
 *     t h k n    touch them
 *     g h k n    find them
 *     f h        flush
 *     o h        close and open again
 *     p h        spool what is dirty, then the same
 *     w h        walk
 *     c h        clear
 *     n h        add up counters
 *     s h        a minute later, a sync
 *
 *     S s        keep the file as snapshot s
 *     R s p n    the power is cut, and the writes to n pages from p on since snapshot s are lost
 *     M s p q n  the same with n sectors of page p from q on
 *     X p o v n  write n bytes of value v at offset o of page p
 *     Z p n      n pages of zeros from p on
 *     K p q      page p also over page q: a misdirected write
 *     L p o      the file ends at offset o of page p
 *     D n        something else stands in the file's place
 *     H p f v    field f of the head of the tree's page p is v, and sealed
 *     E p i f v  offset f of its record i is v, and sealed
 *     U f v      offset f of the super page is v, and sealed
 *     j          the rest of the input is a spool file
 *     x          the rest of the input is the file
 *
 * Whatever happens, an entry that is found was recorded for its action, all of it. As long as nothing was damaged it is
 * also the latest. And after damage of any kind that a drive can do, what is flushed is found again by the next helper.
 * Only what is sealed is excused from that: no drive does it, but it must not do worse than an odd entry.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/index/file.c" // for the layout of its pages
#include "lib/index/head.c"

#define ACTIONS      2048U
#define PAGES        192U  // of the file that commands can reach
#define COMMANDS     256U  // in one program
#define WORK         6000U // entries that one program may record, touch or find
#define SNAPSHOTS    4U
#define HANDLES      2U
#define SECTOR       512U
#define EARLIER_BOOT 7U // the tag of no real boot that is worth a thought
#define LAST_CHECKS  48U

static struct world {
    char dir[300], path[320];
    int dirfd;
    struct tuck_index *handle[HANDLES];
    struct fuzz_text snapshot[SNAPSHOTS];
    uint64_t begin_ns;
    uint32_t version; // the latest that was given out
    unsigned work;
    unsigned shifted_s;
    bool is_damaged, is_forged, has_spooled;
    // Versions by action, 0 for none.
    uint32_t issued[ACTIONS];
    uint32_t flushed[ACTIONS];
    uint32_t unflushed[HANDLES][ACTIONS];
} world;

// --- Entries that tell what they are -------------------------------------------------------------

static struct tuck_action_id action_of(uint32_t number) {
    struct tuck_action_id action;
    uint64_t state = number;
    for (size_t i = 0; i < TUCK_ID_BYTES; i += sizeof(state)) {
        uint64_t part = fuzz_random(&state);
        memcpy(action.bytes + i, &part, sizeof(part));
    }
    return action;
}

static struct tuck_entry entry_for(uint32_t number, uint32_t version) {
    struct tuck_entry entry = {.size = (uint64_t)number << 32 | version,
                               .put_ns = world.begin_ns + version};
    uint64_t state = entry.size;
    memcpy(entry.output.bytes, &number, sizeof(number));
    memcpy(entry.output.bytes + 4, &version, sizeof(version));
    for (size_t i = 8; i < TUCK_ID_BYTES; i += sizeof(state)) {
        uint64_t part = fuzz_random(&state);
        memcpy(entry.output.bytes + i, &part, sizeof(part));
    }
    entry.file_tag = (uint32_t)fuzz_random(&state);
    entry.is_synced = version % 3 == 0;
    entry.access_s = (uint32_t)(entry.put_ns / TUCK_NS_PER_S);
    return entry;
}

// The version of an entry that was found under an action; ends the process if it was never recorded there.
static uint32_t version_of(const struct tuck_action_id *action, const struct tuck_entry *entry) {
    uint32_t number, version;
    memcpy(&number, entry->output.bytes, sizeof(number));
    memcpy(&version, entry->output.bytes + 4, sizeof(version));
    fuzz_check(number < ACTIONS && version > 0 && version <= world.issued[number],
               "action %u, version %u", number, version);
    struct tuck_action_id recorded_action = action_of(number);
    struct tuck_entry recorded = entry_for(number, version);
    fuzz_check(tuck_action_equal(action, &recorded_action), "an entry of another action, %u",
               number);
    fuzz_check(tuck_output_equal(&entry->output, &recorded.output), "another output of action %u",
               number);
    fuzz_check(entry->size == recorded.size && entry->put_ns == recorded.put_ns &&
                   entry->file_tag == recorded.file_tag && entry->is_synced == recorded.is_synced,
               "parts of another entry of action %u", number);
    return version;
}

// --- Commands on handles -------------------------------------------------------------------------

static void open_handle(unsigned h) {
    struct tuck_error err = {0};
    int status =
        tuck_index_open(world.dirfd, &(struct tuck_index_options){0}, &world.handle[h], &err);
    fuzz_check(status == 0, "%s", err.text);
}

static void reopen_handle(unsigned h) {
    tuck_index_close(TUCK_TAKE(world.handle[h]));
    memset(world.unflushed[h], 0, sizeof(world.unflushed[h]));
    open_handle(h);
}

static bool has_work(void) {
    return world.work++ < WORK;
}

static void record_some(unsigned h, uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count && has_work(); i++) {
        uint32_t number = (first + i) % ACTIONS;
        struct tuck_action_id action = action_of(number);
        struct tuck_entry entry = entry_for(number, ++world.version);
        world.issued[number] = world.unflushed[h][number] = world.version;
        fuzz_check(tuck_index_record(world.handle[h], &action, &entry) > 0, "nothing is dirty");
    }
}

static void find_some(unsigned h, uint32_t first, uint32_t count, bool is_touched) {
    for (uint32_t i = 0; i < count && has_work(); i++) {
        uint32_t number = (first + i) % ACTIONS;
        struct tuck_action_id action = action_of(number);
        struct tuck_entry entry;
        int status = tuck_index_find(world.handle[h], &action, &entry);
        uint32_t least =
            world.unflushed[h][number] ? world.unflushed[h][number] : world.flushed[number];
        fuzz_check(status == 0 || status == TUCK_INDEX_ABSENT, "status %d", status);
        fuzz_check(status == 0 || world.is_damaged || least == 0, "action %u is lost", number);
        if (world.is_forged || status != 0)
            continue;
        uint32_t version = version_of(&action, &entry);
        fuzz_check(world.is_damaged || version >= least, "action %u has version %u, not %u", number,
                   version, least);
        (void)tuck_index_trusts(world.handle[h], &entry);
        entry.access_s += 7200;
        entry.hits++;
        if (is_touched)
            (void)tuck_index_touch(world.handle[h], &action, &entry, number % 2);
    }
}

static int flush_handle(unsigned h) {
    struct tuck_error err = {0};
    int status = tuck_index_flush(world.handle[h], 100 * TUCK_NS_PER_MS, &err);
    fuzz_check(status == 0 || world.is_damaged, "status %d: %s", status, err.text);
    for (uint32_t i = 0; status == 0 && i < ACTIONS; i++) {
        if (world.unflushed[h][i] > world.flushed[i])
            world.flushed[i] = world.unflushed[h][i];
        world.unflushed[h][i] = 0;
    }
    return status;
}

static void spool_handle(unsigned h) {
    size_t lost = tuck_index_spool(world.handle[h]);
    fuzz_check(lost == 0 || world.is_damaged, "%zu entries are lost", lost);
    uint32_t kept[ACTIONS];
    world.has_spooled = true;
    memcpy(kept, world.unflushed[h], sizeof(kept));
    reopen_handle(h);
    // What another handle flushed meanwhile is later, and stays what is found.
    for (uint32_t i = 0; i < ACTIONS; i++)
        world.unflushed[h][i] = kept[i] > world.flushed[i] ? kept[i] : 0;
}

static bool take_walked(void *arg, const struct tuck_action_id *action,
                        const struct tuck_entry *entry) {
    size_t *count = arg;
    ++*count;
    if (!world.is_forged)
        (void)version_of(action, entry);
    return true;
}

static void walk_handle(unsigned h) {
    size_t count = 0, expected = 0;
    struct tuck_error err = {0};
    fuzz_check(tuck_index_walk(world.handle[h], take_walked, &count, &err) == 0, "%s", err.text);
    for (uint32_t i = 0; i < ACTIONS; i++)
        expected += world.flushed[i] > 0;
    fuzz_check(world.is_damaged || count == expected || (world.has_spooled && count > expected),
               "%zu entries, not %zu", count, expected);
}

static void clear_all(unsigned h) {
    struct tuck_error err = {0};
    int status = tuck_index_clear(world.handle[h], &err);
    fuzz_check(status == 0 || world.is_damaged, "%s", err.text);
    if (status != 0)
        return;
    memset(world.flushed, 0, sizeof(world.flushed));
    reopen_handle(1 - h); // the other one would see the old file until its next flush
}

static void add_some(void *arg, struct tuck_index_sums *sums) {
    (void)arg;
    for (size_t i = 0; i < 3; i++)
        sums->counters.value[i] += i + 1;
}

static void count_some(unsigned h) {
    struct tuck_index_sums before, after;
    tuck_index_sums(world.handle[h], NULL, NULL, &before);
    if (tuck_index_change_sums(world.handle[h], add_some, NULL) != 0)
        return; // forged into something that cannot be written
    tuck_index_sums(world.handle[h], NULL, NULL, &after);
    for (size_t i = 0; i < 3 && !world.is_forged; i++)
        fuzz_check(after.counters.value[i] == before.counters.value[i] + i + 1,
                   "counter %zu is %llu after %llu", i, (unsigned long long)after.counters.value[i],
                   (unsigned long long)before.counters.value[i]);
}

static int pretend_to_sync(int fd) {
    return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

static void sync_later(unsigned h) {
    if (world.shifted_s >= 600)
        return;
    tuck_clock_shift((int64_t)(61 * TUCK_NS_PER_S));
    world.shifted_s += 61;
    tuck_index_sync_if_due(world.handle[h], pretend_to_sync);
}

// --- Damage --------------------------------------------------------------------------------------

// The file as it is now, or -1.
static int open_entries(void) {
    return open(world.path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static void take_snapshot(uint32_t s) {
    struct fuzz_text *snapshot = &world.snapshot[s % SNAPSHOTS];
    TUCK_CLEANUP(tuck_close_fd) int fd = open_entries();
    uint8_t page[INDEX_PAGE];
    ssize_t len;
    snapshot->len = 0;
    for (uint64_t at = 0;
         fd >= 0 && at < PAGES * INDEX_PAGE && (len = pread(fd, page, INDEX_PAGE, (off_t)at)) > 0;
         at += (uint64_t)len)
        fuzz_text_add(snapshot, page, (size_t)len);
}

static void write_at(uint64_t at, const void *data, size_t len) {
    TUCK_CLEANUP(tuck_close_fd) int fd = open_entries();
    world.is_damaged = true;
    if (fd >= 0)
        (void)!pwrite(fd, data, len, (off_t)at);
}

// Everything that is in the file was written in an earlier boot of the machine. A new boot would do the same, but that
// cannot be had here.
static void age_file(void) {
    struct super super;
    struct page page;
    TUCK_CLEANUP(tuck_close_fd) int fd = open_entries();
    if (fd < 0 || tuck_index__super_read(fd, &super) != 0)
        return;
    struct index_file file = {.seed = super.seed};
    super.boot = EARLIER_BOOT;
    super.check = super_check(&super);
    (void)!pwrite(fd, &super, sizeof(super), SUPER_AT);
    for (uint64_t number = 0;
         pread(fd, &page, INDEX_PAGE, (off_t)page_at(number)) == (ssize_t)INDEX_PAGE; number++) {
        if (page.magic != PAGE_MAGIC || page.check != page_check(&file, &page))
            continue;
        page.boot = EARLIER_BOOT;
        page.check = page_check(&file, &page);
        (void)!pwrite(fd, &page, INDEX_PAGE, (off_t)page_at(number));
    }
}

static void cut_power(uint32_t s, uint64_t at, size_t len) {
    const struct fuzz_text *snapshot = &world.snapshot[s % SNAPSHOTS];
    for (unsigned h = 0; h < HANDLES; h++)
        tuck_index_close(TUCK_TAKE(world.handle[h]));
    if (at < snapshot->len)
        write_at(at, snapshot->data + at, len < snapshot->len - at ? len : snapshot->len - at);
    world.is_damaged = true;
    age_file();
    for (unsigned h = 0; h < HANDLES; h++)
        reopen_handle(h);
}

static void write_value(uint32_t p, uint32_t offset, uint32_t value, uint32_t count) {
    uint8_t bytes[INDEX_PAGE];
    offset %= INDEX_PAGE;
    count = count < INDEX_PAGE - offset ? count : INDEX_PAGE - offset;
    memset(bytes, (int)(value & 255), sizeof(bytes));
    write_at((uint64_t)(p % PAGES) * INDEX_PAGE + offset, bytes, count ? count : 1);
}

static void write_zeros(uint32_t p, uint32_t count) {
    static const uint8_t zeros[INDEX_PAGE];
    for (uint32_t i = 0; i < count && i < 16; i++)
        write_at((uint64_t)((p + i) % PAGES) * INDEX_PAGE, zeros, INDEX_PAGE);
}

static void read_at(uint64_t at, void *ret_data, size_t len) {
    TUCK_CLEANUP(tuck_close_fd) int fd = open_entries();
    memset(ret_data, 0, len);
    if (fd >= 0)
        (void)!pread(fd, ret_data, len, (off_t)at);
}

static void misdirect(uint32_t from, uint32_t to) {
    uint8_t page[INDEX_PAGE];
    read_at((uint64_t)(from % PAGES) * INDEX_PAGE, page, INDEX_PAGE);
    write_at((uint64_t)(to % PAGES) * INDEX_PAGE, page, INDEX_PAGE);
}

static void set_length(uint32_t p, uint32_t offset) {
    TUCK_CLEANUP(tuck_close_fd) int fd = open_entries();
    world.is_damaged = true;
    if (fd >= 0)
        (void)!ftruncate(fd, (off_t)(p % PAGES) * INDEX_PAGE + offset % INDEX_PAGE);
}

static void replace_entries(uint32_t kind) {
    char other[340];
    (void)snprintf(other, sizeof(other), "%s/other", world.dir);
    world.is_damaged = true;
    if (kind % 8 == 4) { // a second name: a copy of the tree made with links
        (void)!link(world.path, other);
        return;
    }
    (void)unlink(world.path);
    (void)rmdir(world.path);
    switch (kind % 8) {
    case 1:
        (void)mkdir(world.path, 0700);
        break;
    case 2:
        (void)mkfifo(world.path, 0600);
        break;
    case 3:
        (void)!symlink("other", world.path);
        break;
    case 5:
        fuzz_write_file(world.path, "", 0);
        break;
    case 6: // the file as it was once: a restored backup
        fuzz_write_file(world.path, world.snapshot[0].data, world.snapshot[0].len);
        break;
    default:
        break;
    }
}

static void write_spool(const char *rest, size_t len) {
    char path[340];
    (void)snprintf(path, sizeof(path), "%s/spool", world.dir);
    (void)mkdir(path, 0700);
    (void)snprintf(path, sizeof(path), "%s/spool/%024u", world.dir, 0U);
    fuzz_write_file(path, rest, len);
}

static uint64_t present_seed(void) {
    struct super super;
    read_at(SUPER_AT, &super, sizeof(super));
    return super.seed;
}

static void forge_head(uint32_t p, uint32_t field, uint32_t value) {
    struct index_file file = {.seed = present_seed()};
    struct page page;
    uint64_t at = page_at(p % (PAGES - 2));
    read_at(at, &page, sizeof(page));
    switch (field % 5) {
    case 0:
        page.depth = (uint8_t)value;
        break;
    case 1:
        page.state = (uint8_t)value;
        break;
    case 2:
        page.count = (uint16_t)value;
        break;
    case 3:
        page.number = value;
        break;
    default:
        break; // only sealed, with whatever the file has there
    }
    page.check = page_check(&file, &page);
    world.is_forged = true;
    write_at(at, &page, sizeof(page));
}

static void forge_record(uint32_t p, uint32_t i, uint32_t field, uint32_t value) {
    struct index_file file = {.seed = present_seed()};
    struct record record;
    uint64_t at =
        page_at(p % (PAGES - 2)) + offsetof(struct page, slot) + i % INDEX_SLOTS * sizeof(record);
    read_at(at, &record, sizeof(record));
    memcpy((uint8_t *)&record + field % (sizeof(record) - sizeof(value)), &value, sizeof(value));
    record.check = record_check(&file, &record);
    world.is_forged = true;
    write_at(at, &record, sizeof(record));
}

static void forge_super(uint32_t field, uint32_t value) {
    struct super super;
    read_at(SUPER_AT, &super, sizeof(super));
    memcpy((uint8_t *)&super + field % (sizeof(super) - sizeof(value)), &value, sizeof(value));
    super.check = super_check(&super);
    world.is_forged = true;
    write_at(SUPER_AT, &super, sizeof(super));
}

// --- The program ---------------------------------------------------------------------------------

static bool run_command(char command, const uint32_t arg[4], const char *rest, size_t rest_len) {
    unsigned h = arg[0] % HANDLES;
    switch (command) {
    case 'r':
        record_some(h, arg[1], arg[2]);
        break;
    case 't':
    case 'g':
        find_some(h, arg[1], arg[2], command == 't');
        break;
    case 'f':
        (void)flush_handle(h);
        break;
    case 'o':
        reopen_handle(h);
        break;
    case 'p':
        spool_handle(h);
        break;
    case 'w':
        walk_handle(h);
        break;
    case 'c':
        clear_all(h);
        break;
    case 'n':
        count_some(h);
        break;
    case 's':
        sync_later(h);
        break;
    case 'S':
        take_snapshot(arg[0]);
        break;
    case 'R':
        cut_power(arg[0], (uint64_t)(arg[1] % PAGES) * INDEX_PAGE,
                  (size_t)(1 + arg[2] % PAGES) * INDEX_PAGE);
        break;
    case 'M':
        cut_power(arg[0], (uint64_t)(arg[1] % PAGES) * INDEX_PAGE + arg[2] % 8 * SECTOR,
                  (1 + arg[3] % 8) * SECTOR);
        break;
    case 'X':
        write_value(arg[0], arg[1], arg[2], arg[3]);
        break;
    case 'Z':
        write_zeros(arg[0], arg[1]);
        break;
    case 'K':
        misdirect(arg[0], arg[1]);
        break;
    case 'L':
        set_length(arg[0], arg[1]);
        break;
    case 'D':
        replace_entries(arg[0]);
        break;
    case 'H':
        forge_head(arg[0], arg[1], arg[2]);
        break;
    case 'E':
        forge_record(arg[0], arg[1], arg[2], arg[3]);
        break;
    case 'U':
        forge_super(arg[0], arg[1]);
        break;
    case 'j':
        write_spool(rest, rest_len);
        return false;
    case 'x':
        write_at(0, rest, rest_len);
        set_length((uint32_t)(rest_len / INDEX_PAGE), (uint32_t)(rest_len % INDEX_PAGE));
        return false;
    default:
        break;
    }
    return true;
}

static void run_program(const char *text, size_t len) {
    size_t at = 0;
    for (unsigned commands = 0; at < len && commands < COMMANDS; commands++) {
        char command = text[at++];
        uint32_t arg[4] = {0};
        for (size_t i = 0; i < TUCK_ARRAY_LEN(arg); i++) {
            while (at < len && text[at] == ' ')
                at++;
            for (unsigned digits = 0; at < len && text[at] >= '0' && text[at] <= '9';
                 digits++, at++)
                arg[i] = digits < 9 ? arg[i] * 10 + (uint32_t)(text[at] - '0') : arg[i];
        }
        size_t rest = at < len && text[at] == '\n' ? at + 1 : at;
        if (!run_command(command, arg, text + rest, len - rest))
            break;
    }
}

// --- The target ----------------------------------------------------------------------------------

static void begin_world(void) {
    if (!world.dir[0]) {
        (void)snprintf(world.dir, sizeof(world.dir), "%s/index", fuzz_scratch());
        (void)snprintf(world.path, sizeof(world.path), "%s/entries", world.dir);
    }
    fuzz_check(mkdir(world.dir, 0700) == 0, "%s: %s", world.dir, strerror(errno));
    world.dirfd = open(world.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fuzz_check(world.dirfd >= 0, "%s", strerror(errno));
    world.begin_ns = tuck_clock_wall_ns() - 1000 * TUCK_NS_PER_S;
    // A file as it is begun by the index, but with the same seed each time: which page an action belongs to must not
    // change from one run of an input to the next.
    uint8_t pages[2 * INDEX_PAGE] = {0};
    struct super super = {
        .magic = SUPER_MAGIC, .version = 1, .seed = 1, .epoch = tuck_index__now_s()};
    super.durable_below = super.epoch;
    super.check = super_check(&super);
    memcpy(pages, &super, sizeof(super));
    fuzz_write_file(world.path, pages, sizeof(pages));
    for (unsigned h = 0; h < HANDLES; h++)
        open_handle(h);
}

static void end_world(void) {
    for (unsigned h = 0; h < HANDLES; h++)
        tuck_index_close(TUCK_TAKE(world.handle[h]));
    tuck_close_fd(&world.dirfd);
    fuzz_remove(world.dir);
    for (size_t s = 0; s < SNAPSHOTS; s++)
        world.snapshot[s].len = 0;
    tuck_clock_shift(-(int64_t)(world.shifted_s * TUCK_NS_PER_S));
    world.version = world.work = world.shifted_s = 0;
    world.is_damaged = world.is_forged = world.has_spooled = false;
    memset(world.issued, 0, sizeof(world.issued));
    memset(world.flushed, 0, sizeof(world.flushed));
    memset(world.unflushed, 0, sizeof(world.unflushed));
}

// Whatever was damaged: a helper that starts now can store, and the next one finds it.
static void check_recovery(void) {
    uint32_t first = world.version;
    for (unsigned h = 0; h < HANDLES; h++)
        reopen_handle(h);
    world.work = 0;
    record_some(0, first, LAST_CHECKS);
    int status = flush_handle(0);
    fuzz_check(status == 0 || world.is_forged, "status %d", status);
    reopen_handle(0);
    for (uint32_t i = 0; i < LAST_CHECKS; i++) {
        uint32_t number = (first + i) % ACTIONS;
        struct tuck_action_id action = action_of(number);
        struct tuck_entry entry;
        int found = tuck_index_find(world.handle[0], &action, &entry);
        if (world.is_forged)
            continue;
        fuzz_check(found == 0, "action %u was flushed and is not found again", number);
        fuzz_check(version_of(&action, &entry) == world.issued[number],
                   "action %u is found in an older version", number);
    }
    walk_handle(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    begin_world();
    run_program((const char *)data, size);
    check_recovery();
    end_world();
    return 0;
}
