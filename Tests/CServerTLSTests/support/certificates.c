// SPDX-License-Identifier: Apache-2.0

#include "certificates.h"

#include "must.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

enum { DAY = 86400, MOST = 32 };

typedef struct issuer {
    X509 *certificate;
    EVP_PKEY *key;
    X509 *intermediate;
    EVP_PKEY *intermediate_key;
    pem text;
} issuer;

static issuer issuers[2];
static certificate made[MOST];
static int made_count;
static char *files[MOST];
static const char *written[MOST]; // what is in them
static int file_count;

static EVP_PKEY *new_key(key_type type) {
    EVP_PKEY *key = NULL;
    switch (type) {
    case KEY_RSA:
        key = EVP_RSA_gen(2048);
        break;
    case KEY_SHORT_RSA:
        key = EVP_RSA_gen(512);
        break;
    case KEY_ED25519:
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        break;
    case KEY_ECDSA:
        key = EVP_EC_gen("P-256");
        break;
    }
    must(key);
    return key;
}

static void extend(X509 *certificate, X509 *issuer, int kind, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    must(extension && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static X509 *new_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                             long first_day, long last_day) {
    static long serial = 1;
    X509 *certificate = X509_new();
    must(certificate);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), first_day * DAY);
    X509_gmtime_adj(X509_getm_notAfter(certificate), last_day * DAY);
    X509_NAME *subject = X509_get_subject_name(certificate);
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                    -1, 0) == 1);
    X509_set_pubkey(certificate, key);
    X509 *by = issuer ? issuer : certificate;
    X509_set_issuer_name(certificate, X509_get_subject_name(by));
    extend(certificate, by, NID_subject_key_identifier, "hash");
    (void)issuer_key;
    return certificate;
}

static void sign(X509 *certificate, EVP_PKEY *key) {
    must(X509_sign(certificate, key, EVP_sha256()) > 0);
}

static X509 *new_authority(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key) {
    X509 *certificate = new_certificate(name, key, issuer, issuer_key, -10, 1000);
    extend(certificate, issuer ? issuer : certificate, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate, issuer ? issuer : certificate, NID_key_usage, "keyCertSign,cRLSign");
    sign(certificate, issuer_key);
    return certificate;
}

static pem text_of(BIO *memory) {
    char *bytes;
    long size = BIO_get_mem_data(memory, &bytes);
    pem text = {malloc((size_t)size + 1), (size_t)size};
    must(text.text);
    memcpy(text.text, bytes, text.size);
    text.text[text.size] = 0;
    BIO_free(memory);
    return text;
}

static issuer *issuer_of(bool is_other) {
    issuer *one = &issuers[is_other];
    if (!one->certificate) {
        one->key = new_key(KEY_ECDSA);
        one->certificate =
            new_authority(is_other ? "other root" : "root", one->key, NULL, one->key);
        one->intermediate_key = new_key(KEY_ECDSA);
        one->intermediate = new_authority(is_other ? "other intermediate" : "intermediate",
                                          one->intermediate_key, one->certificate, one->key);
        BIO *memory = BIO_new(BIO_s_mem());
        must(PEM_write_bio_X509(memory, one->certificate) == 1);
        one->text = text_of(memory);
    }
    return one;
}

const pem *authority(void) {
    return &issuer_of(false)->text;
}

const pem *other_authority(void) {
    return &issuer_of(true)->text;
}

static void make(certificate *wanted) {
    issuer *by = issuer_of(wanted->is_by_other_authority);
    EVP_PKEY *key = new_key(wanted->key_type);
    X509 *one = new_certificate(wanted->name, key, by->intermediate, by->intermediate_key, -5,
                                wanted->is_expired ? -1 : 100);
    char names[300];
    const char *kind = strspn(wanted->name, "0123456789.") == strlen(wanted->name) ? "IP" : "DNS";
    snprintf(names, sizeof names, "%s:%s", kind, wanted->name);
    extend(one, by->intermediate, NID_subject_alt_name, names);
    sign(one, by->intermediate_key);
    BIO *memory = BIO_new(BIO_s_mem());
    must(PEM_write_bio_X509(memory, one) == 1 && PEM_write_bio_X509(memory, by->intermediate) == 1);
    wanted->chain = text_of(memory);
    memory = BIO_new(BIO_s_mem());
    must(PEM_write_bio_PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL) == 1);
    wanted->key = text_of(memory);
    X509_free(one);
    EVP_PKEY_free(key);
}

const certificate *certificate_of(certificate wanted) {
    for (int index = 0; index < made_count; index++) {
        const certificate *one = &made[index];
        if (strcmp(one->name, wanted.name) == 0 && one->key_type == wanted.key_type &&
            one->is_by_other_authority == wanted.is_by_other_authority &&
            one->is_expired == wanted.is_expired) {
            return one;
        }
    }
    must(made_count < MOST);
    make(&wanted);
    made[made_count] = wanted;
    return &made[made_count++];
}

const certificate *certificate_for(const char *name, key_type type) {
    return certificate_of((certificate){.name = name, .key_type = type});
}

csc_tls_identity *identity_of(const certificate *one) {
    csc_tls_error error;
    csc_tls_identity *identity = csc_tls_identity_from_pem(
        one->chain.text, one->chain.size, one->key.text, one->key.size, NULL, &error);
    if (!identity) {
        fprintf(stderr, "%s\n", error.text);
    }
    must(identity);
    return identity;
}

csc_tls_identity *identity_for(const char *name, key_type type) {
    return identity_of(certificate_for(name, type));
}

const char *name_in(const void *der, size_t size) {
    static char name[256];
    const unsigned char *next = der;
    X509 *one = d2i_X509(NULL, &next, (long)size);
    must(one);
    must(X509_NAME_get_text_by_NID(X509_get_subject_name(one), NID_commonName, name, sizeof name) >
         0);
    X509_free(one);
    return name;
}

const char *peer_name(const csc_tls *tls) {
    unsigned char der[4096];
    size_t size = csc_tls_copy_peer_certificate(tls, 0, der, sizeof der);
    return size > 0 && size <= sizeof der ? name_in(der, size) : "";
}

const char *file_with(const pem *text) {
    for (int index = 0; index < file_count && text->size > 0; index++) {
        if (written[index] == text->text) {
            return files[index];
        }
    }
    must(file_count < MOST);
    written[file_count] = text->text;
    char *path = strdup("/tmp/cservertls-XXXXXX");
    int descriptor = mkstemp(path);
    must(descriptor >= 0 && write(descriptor, text->text, text->size) == (ssize_t)text->size);
    close(descriptor);
    files[file_count++] = path;
    return path;
}

pem encrypted(const pem *key, const char *password) {
    BIO *input = BIO_new_mem_buf(key->text, (int)key->size);
    EVP_PKEY *one = PEM_read_bio_PrivateKey(input, NULL, NULL, NULL);
    BIO *memory = BIO_new(BIO_s_mem());
    must(one &&
         PEM_write_bio_PrivateKey(memory, one, EVP_aes_128_cbc(), (const unsigned char *)password,
                                  (int)strlen(password), NULL, NULL) == 1);
    BIO_free(input);
    EVP_PKEY_free(one);
    return text_of(memory);
}

void free_certificates(void) {
    for (int index = 0; index < made_count; index++) {
        free(made[index].chain.text);
        free(made[index].key.text);
    }
    for (int index = 0; index < 2; index++) {
        X509_free(issuers[index].certificate);
        EVP_PKEY_free(issuers[index].key);
        X509_free(issuers[index].intermediate);
        EVP_PKEY_free(issuers[index].intermediate_key);
        free(issuers[index].text.text);
        issuers[index] = (issuer){0};
    }
    for (int index = 0; index < file_count; index++) {
        unlink(files[index]);
        free(files[index]);
    }
    made_count = 0;
    file_count = 0;
}
