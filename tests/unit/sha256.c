#include "tests/unit/unit.h"

#include "shared/sha256.h"

static void digest_text(const void *bytes, size_t length, size_t piece, char text[65])
{
    uint8_t digest[TERN_SHA256_BYTES];
    struct tern_sha256 sha;

    tern_sha256_begin(&sha);
    for (size_t at = 0; at < length; at += piece)
        tern_sha256_add(&sha, (const uint8_t *)bytes + at, tern_min_u64(piece, length - at));
    tern_sha256_end(&sha, digest);
    for (unsigned i = 0; i < sizeof digest; i++)
        snprintf(text + i * 2, 3, "%02x", digest[i]);
}

/* The examples of FIPS 180-4 and of NIST's validation suite. */
static void digests_are_those_of_the_standard(TERN_TEST_STATE)
{
    static const struct {
        const char *text, *digest;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
         "lmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char text[65];

    for (unsigned i = 0; i < TERN_COUNT(known); i++)
        for (size_t piece = 1; piece < 120; piece += 7) {
            digest_text(known[i].text, strlen(known[i].text), piece, text);
            assert_string_equal(text, known[i].digest);
        }
}

static void a_million_letters(TERN_TEST_STATE)
{
    char *letters = malloc(1000000), text[65];

    assert_non_null(letters);
    memset(letters, 'a', 1000000);
    digest_text(letters, 1000000, 1000, text);
    assert_string_equal(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(letters);
}

static void one_bit_makes_them_different(TERN_TEST_STATE)
{
    uint8_t a[TERN_SHA256_BYTES] = {1, 2, 3}, b[TERN_SHA256_BYTES] = {1, 2, 3};

    assert_true(tern_sha256_same(a, b));
    for (unsigned bit = 0; bit < sizeof a * 8; bit++) {
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(tern_sha256_same(a, b));
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_the_standard),
        cmocka_unit_test(a_million_letters),
        cmocka_unit_test(one_bit_makes_them_different),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
