"""Secrets in the shapes that they have in texts, built from parts: none stands here whole."""

from __future__ import annotations

from dataclasses import dataclass

#: Letters and digits without order, of which each value takes some.
_ANY = "q7Zr2Xw9Kd4Tn8Vb3Hm6Yc5Jf1Gs0Lp7Pk2Rt9Wx4Dn8Mv3Bh6Qy5Cj1Fg0SzL"
_UP = "Q7ZR2XW9KD4TN8VB3HM6YC5JF1GS0LP7PK2RT9WX4DN8MV3B"
_HEX = "7e2f9a4d8b3c6e5f1a0d7c2b9e4f8a3d6b5c1e0f7d2a9c4b8e3f6a5d1c0b7e2f"


def a(length: int, start: int = 0) -> str:
    """Letters and digits."""
    return (_ANY * 4)[start : start + length]


def u(length: int) -> str:
    """Capitals and digits."""
    return _UP[:length]


def h(length: int) -> str:
    """Hexadecimal digits."""
    return (_HEX * 3)[:length]


@dataclass(frozen=True)
class Shape:
    """A text with a secret in it: ``{}`` in ``form`` is where that stands."""

    name: str
    form: str
    secret: str

    @property
    def text(self) -> str:
        return self.form.replace("{}", self.secret)


UUID = f"{h(8)}-{h(4)}-4{h(3)}-a{h(3)}-{h(12)}"
WORD, MIXED, SIGNS = "hunter" + "2", "c0rrect" + "Horse", "p@ss" + "/w0rd!" + "x#9"
JWT = "ey" + "J" + a(20) + "." + "ey" + "J" + a(40, 5) + "." + a(43, 9)
BODY = "\n".join(a(60, n) for n in range(3))
_FENCE = "-" * 5
PEM = f"{_FENCE}BEGIN {{}} PRIVATE KEY{_FENCE}\n{BODY}\n{_FENCE}END {{}} PRIVATE KEY{_FENCE}"

_BY_LOOK: tuple[tuple[str, str], ...] = (
    ("aws", "AK" + "IA" + u(16)),
    ("aws temporary", "AS" + "IA" + u(16)),
    ("aws bedrock", "AB" + "SK" + a(60)),
    ("google", "AI" + "za" + a(35)),
    ("google oauth secret", "GOC" + "SPX-" + a(28)),
    ("google access", "ya" + "29." + a(60)),
    ("google refresh", "1/" + "/0" + a(40)),
    ("github", "gh" + "p_" + a(36)),
    ("github oauth", "gh" + "o_" + a(36)),
    ("github user", "gh" + "u_" + a(36)),
    ("github server", "gh" + "s_" + a(36)),
    ("github refresh", "gh" + "r_" + a(36)),
    ("github fine", "github" + "_pat_" + a(22) + "_" + a(59)),
    ("gitlab", "gl" + "pat-" + a(20)),
    ("gitlab deploy", "gl" + "dt-" + a(20)),
    ("gitlab runner", "gl" + "rt-" + a(20)),
    ("openai", "sk" + "-" + a(48)),
    ("openai project", "sk" + "-proj-" + a(60)),
    ("openai service", "sk" + "-svcacct-" + a(60)),
    ("anthropic", "sk" + "-ant-api03-" + a(60)),
    ("openrouter", "sk" + "-or-v1-" + h(64)),
    ("langfuse", "sk" + "-lf-" + UUID),
    ("groq", "gs" + "k_" + a(52)),
    ("xai", "xa" + "i-" + a(60)),
    ("huggingface", "h" + "f_" + a(34)),
    ("perplexity", "pp" + "lx-" + a(48)),
    ("nvidia", "nv" + "api-" + a(60)),
    ("replicate", "r" + "8_" + a(37)),
    ("fireworks", "fw" + "_" + a(24)),
    ("cerebras", "cs" + "k-" + a(48)),
    ("tavily", "tv" + "ly-" + a(32)),
    ("pinecone", "pc" + "sk_" + a(60)),
    ("jina", "ji" + "na_" + a(50)),
    ("langsmith", "lsv2" + "_pt_" + h(32) + "_" + h(10)),
    ("stripe live", "sk" + "_live_" + a(24)),
    ("stripe test", "sk" + "_test_" + a(24)),
    ("stripe restricted", "rk" + "_live_" + a(24)),
    ("stripe hook", "wh" + "sec_" + a(32)),
    ("slack bot", "xo" + "xb-" + "123456789012-123456789012-" + a(24)),
    ("slack user", "xo" + "xp-" + "123456789012-123456789012-" + a(32)),
    ("slack app", "xa" + "pp-1-" + u(11) + "-1234567890123-" + h(64)),
    ("discord bot", "M" + a(23) + "." + a(6) + "." + a(38)),
    ("telegram", "1234" + "567890:A" + a(34)),
    ("npm", "np" + "m_" + a(36)),
    ("pypi", "py" + "pi-AgEIcHlwaS5vcmc" + a(60)),
    ("rubygems", "ruby" + "gems_" + h(48)),
    ("sendgrid", "S" + "G." + a(22) + "." + a(43)),
    ("mailgun", "ke" + "y-" + h(32)),
    ("mailchimp", h(32) + "-u" + "s12"),
    ("twilio", "S" + "K" + h(32)),
    ("square", "sq0" + "atp-" + a(22)),
    ("shopify", "shp" + "at_" + h(32)),
    ("digitalocean", "do" + "p_v1_" + h(64)),
    ("linear", "lin_" + "api_" + a(40)),
    ("notion", "nt" + "n_" + a(46)),
    ("airtable", "pa" + "t" + a(14) + "." + h(64)),
    ("figma", "fi" + "gd_" + a(40)),
    ("doppler", "dp" + ".pt." + a(43)),
    ("vault", "hv" + "s." + a(90)),
    ("terraform", a(14) + ".atlas" + "v1." + a(64)),
    ("databricks", "da" + "pi" + h(32)),
    ("grafana", "gl" + "sa_" + a(32) + "_" + h(8)),
    ("new relic", "NR" + "AK-" + u(27)),
    ("sentry", "sn" + "trys_" + a(60)),
    ("postman", "PM" + "AK-" + h(24) + "-" + h(34)),
    ("planetscale", "pscale" + "_tkn_" + a(43)),
    ("supabase", "sb" + "p_" + h(40)),
    ("a key of ours", "ca" + "_k3xample_" + a(43)),
    ("a webhook's", "whsec" + "_" + a(32)),
    ("docker", "dckr" + "_pat_" + a(27)),
    ("atlassian", "AT" + "ATT3xFfGF0" + a(60)),
    ("bitbucket", "AT" + "BB" + a(32)),
    ("dropbox", "s" + "l." + a(100)),
    ("tailscale", "ts" + "key-auth-" + a(12) + "-" + a(24)),
    ("hubspot", "pa" + "t-na1-" + UUID),
    ("azure app", a(3) + "8" + "Q~" + a(34)),
    ("age", "AGE-" + "SECRET-KEY-1" + u(48)),
    ("alibaba", "LT" + "AI" + a(20)),
    ("dynatrace", "dt0" + "c01." + u(24) + "." + u(48)),
    ("jwt", JWT),
    ("pem", PEM.replace("{}", "RSA")),
    ("pem openssh", PEM.replace("{}", "OPENSSH")),
    ("pem plain, on one line", PEM.replace("{} ", "").replace("\n", "\\n")),
    ("bcrypt", "$2" + "b$12$" + a(53)),
)

_BY_NAME: tuple[tuple[str, str, str], ...] = (
    ("environment", "SECRET_KEY={}", a(40)),
    ("postgres", "PGPASSWORD={} psql -h db", WORD),
    ("redis", "REDIS_PASSWORD={}", MIXED),
    ("mysql", "MYSQL_PWD={}", WORD),
    ("django", "DJANGO_SECRET_KEY='{}'", "a#b" + a(30) + "$%"),
    ("aws secret", "aws_secret_access_key = {}", a(20) + "/" + a(10) + "+" + a(8)),
    ("aws secret, json", '"SecretAccessKey": "{}"', a(40)),
    ("camel", '{"accessToken": "{}"}', a(30)),
    ("camel secret", "clientSecret: {}", a(30)),
    ("camel password", "dbPassword={}", WORD),
    ("camel key", '{"apiKey":"{}","x":1}', a(24)),
    ("refresh", '"refresh_token": "{}"', a(40)),
    ("id token", "id_token={}&state=1", a(40)),
    ("quoted json", r'"{\"password\": \"{}\"}"', WORD),
    ("python", "{'password': '{}'}", WORD),
    ("python list", "{'password': ['{}']}", WORD),
    ("python tuple", "('x-api-key', '{}')", a(32)),
    ("bytes tuple", "(b'authorization', b'Bearer {}')", a(32)),
    ("header", "x-api-key: {}", a(32)),
    ("header, goog", "x-goog-api-key: {}", a(32)),
    ("header, azure", "Ocp-Apim-Subscription-Key: {}", h(32)),
    ("header, gitlab", "PRIVATE-TOKEN: {}", a(20)),
    ("header, vault", "X-Vault-Token: {}", a(24)),
    ("header, auth token", "X-Auth-Token: {}", h(32)),
    ("bearer", "Authorization: Bearer {}", a(32)),
    ("basic", "Authorization: Basic {}", a(24) + "=="),
    ("token scheme", "Authorization: Token {}", h(40)),
    ("apikey scheme", "Authorization: ApiKey {}", a(40)),
    ("bot scheme", "Authorization: Bot {}", a(40)),
    ("digest", "Authorization: Digest {}", f'username="bob", nonce="{h(16)}", response="{h(32)}"'),
    (
        "aws4",
        "Authorization: AWS4-HMAC-SHA256 {}",
        f"Credential={u(20)}/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature={h(64)}",
    ),
    ("no scheme", "authorization: {}", a(40)),
    ("proxy", "Proxy-Authorization: Basic {}", a(24)),
    ("authorization in a dict", "{'Authorization': 'Token {}'}", a(32)),
    ("bearer in prose", "sent bearer {} to it", a(24)),
    ("cookie", "Cookie: {}", f"session={a(24)}; csrf={a(16)}"),
    ("set cookie", "Set-Cookie: {}", f"sid={a(24)}; Path=/; HttpOnly"),
    ("session id", "PHPSESSID={}", h(26)),
    ("passphrase", "passphrase: {}", MIXED),
    ("passphrase, quoted", 'passphrase="{}"', "correct horse " + "battery"),
    ("passwd", "passwd={}", WORD),
    ("pwd in a dsn", "Server=db;Uid=sa;Pwd={};Encrypt=yes", "A1b2" + "C3d4"),
    ("azure storage", "AccountName=x;AccountKey={};EndpointSuffix=core", a(84) + "=="),
    ("azure sas", "https://x.blob.core.windows.net/c?sv=2020&sig={}", a(40) + "%3D"),
    ("azure bus", "SharedAccessKeyName=Root;SharedAccessKey={}", a(43) + "="),
    ("query", "GET /v1?api_key={}&limit=2", a(24)),
    ("query key", "https://maps.example.com/x?key={}", a(30)),
    ("query token", "https://x.example.com/?access_token={}&a=b", a(30)),
    ("presigned", "https://b.s3.example.com/k?X-Amz-Expires=9&X-Amz-Signature={}", h(64)),
    ("presigned token", "https://b.s3.example.com/k?X-Amz-Security-Token={}", a(80)),
    ("slack hook", "https://hooks.slack.com/services/{}", "T" + u(8) + "/B" + u(8) + "/" + a(24)),
    ("discord hook", "https://discord.com/api/webhooks/{}", "123456789012345678/" + a(60)),
    ("teams hook", "https://x.webhook.office.com/webhookb2/{}", UUID + "@" + UUID),
    ("telegram url", "https://api.telegram.org/bot{}", "123456789:" + "A" + a(34)),
    ("url", "redis://:{}@host:6379/0", WORD),
    ("url, user", "postgresql://bob:{}@host/db", MIXED),
    ("url, at", "redis://:{}@host:6379", "a@" + "rest9"),
    ("url, slash", "redis://:{}@host:6379", "a" + "/b7"),
    ("url, signs", "amqp://bob:{}@host//", SIGNS),
    ("url, user alone", "https://{}@example.com/x.git", a(40)),
    ("sentry dsn", "https://{}@o1.ingest.sentry.io/2", h(32)),
    ("jdbc", "jdbc:postgresql://h/db?user=x&password={}", WORD),
    ("libpq", "host=db user=x password={} dbname=y", WORD),
    ("libpq, quoted", "host=db password='{}' dbname=y", "two " + WORD),
    ("comma", "password={},rest=1", "ab" + ",cd9"),
    ("walrus", "password := {}", WORD),
    ("spaces", "password : {}", WORD),
    ("arrow", "'password' => '{}'", WORD),
    ("yaml", "db:\n  host: x\n  password: {}\n", "sword" + "fish"),
    ("yaml, key", "  api_key: {}\n  model: x", a(30)),
    ("toml", 'token = "{}"', a(30)),
    ("ini", "[db]\npassword = {}\nuser = x", "sword" + "fish"),
    ("xml", "<password>{}</password>", WORD),
    ("html", "&quot;password&quot;:&quot;{}&quot;", WORD),
    ("encoded", "password%3D{}", WORD),
    ("flag", "login --password {} --user x", WORD),
    ("flag, equals", "login --token={} --user x", a(20)),
    ("curl", "curl -u bob:{} https://x.example.com", WORD),
    ("curl header", "curl -H 'Authorization: Bearer {}' https://x.example.com", a(24)),
    ("curl key", 'curl -H "X-API-Key: {}" https://x.example.com', a(24)),
    ("sql", "ALTER USER x WITH PASSWORD '{}'", WORD),
    ("netrc", "machine x login bob password {}", WORD),
    ("pgpass", "db:5432:app:bob:{}", WORD),
    ("npmrc", "//registry.example.com/:_authToken={}", a(36)),
    ("npmrc, old", "_auth={}", a(24) + "=="),
    ("docker", '"auth": "{}"', a(24) + "=="),
    ("otp", "otpauth://totp/x?secret={}&issuer=y", u(32)),
    ("pydantic", "password=SecretStr('{}')", WORD),
    ("traceback", "    connect(host='x', password='{}', port=1)", WORD),
    ("quote inside", 'password="{}"', "ab" + '\\"cd9'),
    ("sentence", "My API key: {}, is it right?", a(32)),
    ("sentence, is", "the password is {}", WORD),
    ("wrong key", "Incorrect API key provided: {}.", a(32)),
    ("signing", "SIGNING_KEY={}", h(64)),
    ("encryption", "ENCRYPTION_KEY: {}", a(43) + "="),
    ("private", '"private_key": "{}"', a(43) + "="),
    ("credentials", "credentials={}", a(30)),
    ("connection string", 'connection_string="{}"', "x=" + a(30)),
    ("webhook", "webhook_secret={}", a(30)),
    ("escaped newline", "x\\npassword={}", WORD),
    ("fernet", "FERNET_KEY={}", a(43) + "="),
    ("dd", "DD_API_KEY={}", h(32)),
    ("wandb", "WANDB_API_KEY={}", h(40)),
    ("cohere", "CO_API_KEY={}", a(40)),
    ("mistral", "MISTRAL_API_KEY={}", a(32)),
    ("gcp account", '{"type": "service_account", "private_key": "{}"}', a(40)),
    ("number", "password={}", "8243" + "1577"),
    ("pin in json", '{"password": "{}"}', "82" + "4315"),
)

SHAPES = [
    *(Shape(name, "got {} here", secret) for name, secret in _BY_LOOK),
    *(Shape(f"{name} at the end", "Incorrect key provided: {}.", s) for name, s in _BY_LOOK),
    *(Shape(name, form, secret) for name, form, secret in _BY_NAME),
    *(Shape(f"{name}, in words", f"It failed: {form} (twice)", s) for name, form, s in _BY_NAME),
]
