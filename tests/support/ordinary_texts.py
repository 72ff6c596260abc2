"""Texts without a secret that have the words, signs and shapes of some."""

from __future__ import annotations

_HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

ORDINARY = [
    line
    for line in f"""
I forgot my password: can you help me?
The password: how do I change it?
Password: required
password: must be at least 12 characters
password: str
password: str | None = None
password: SecretStr
password=None
password = None
password=getpass()
password = os.environ["DB_PASSWORD"]
password=os.getenv("DB_PASSWORD")
password=settings.password
password=self.password,
password: ${{DB_PASSWORD}}
password=$DB_PASSWORD
password: <your password>
password=***
password: {{{{ vault_password }}}}
"password": null
"password": {{"type": "string"}}
"password": ""
The password is wrong, try again
The password was changed yesterday
Your password is too short
Passwords: two of them are weak
password_hash_rounds=12
password_min_length: 8
password_reset_url=https://example.com/reset
password_file=/run/secrets/db
reset_password: true
no_password=true
def login(user: str, password: str) -> Token:
def connect(host, password=None, port=5432):
Forgot password? Click here to reset it
the passwords differ: try again
pwd: /home/bob/work
PWD=/home/bob/work
cd $(pwd) and ls
pass: the test went well
passing: 12 tests
12 passed, 3 failed
compass: north by northwest
bypass: true
passenger: Anna Schmidt
passport: ask at the desk
encompass: all of them
The token limit is 4096 tokens: shorten the prompt
token: the smallest unit of a text
Token: a word, or part of one
tokens: 4096
max_tokens=4096
max_tokens: 4096
max_completion_tokens=256
input_tokens=5, output_tokens=7
"input_tokens": 1200, "output_tokens": 345
"prompt_tokens": 18, "total_tokens": 40
tokens_per_minute=90000
token_count=17
token_type=bearer
"token_type": "Bearer"
token_limit: 8192
token_url=https://auth.example.com/oauth/token
tokenizer=fast
tokenizer: cl100k_base
tokenize: split the text at blanks
token = get_token()
token = request.headers["X-Token"]
token=token
token: Optional[str] = None
Unexpected token 'else' in line 4
Unexpected token: '}}' at position 12
SyntaxError: invalid token: expected a name
expected token ')' but got ','
lease token 3 is older than 4
fenced by the token: outcome, join of the parent
attempts=3, token=7
The secret: patience and practice
The secret is to stir it slowly
secret: false
secret=None
secrets: see the handbook
secretary: Anna Schmidt
"secret": {{"name": "db"}}
secret_name=database
secretName: database-credentials
secrets.DB_PASSWORD is not set
It is no secret: he left
key: value
key=value
"key": "name"
primary_key=True
primary key: id
foreign_key: user_id
public_key=example
key-value-store-with-a-long-name
key-value pairs, key-by-key
key_error: 'name'
KeyError: 'name'
idempotency_key={_HEX[:32]}
Idempotency-Key: {_HEX[:36]}
cache_key=user:123:profile
sort_key=created_at
partition key: eu-central-1
the key is in the lock
keys: 12
keyboard: US
keyboard, skills and risk
keyword: agents
keywords=celery,agents,redis
monkey: banana
hotkey: ctrl-shift-p
turkey: 2 kg
api key: ask the operator for one
API_KEY is not set
KEY_THAT_NOBODY_SET_ANYWHERE is not set
OPENAI_API_KEY is missing from the environment
set ANTHROPIC_API_KEY in the worker's environment
api_key=None
api_key=api_key
api_key = os.environ["OPENAI_API_KEY"]
api_key_env = "OPENAI_API_KEY"
"api_key_env": "DESK_KEY"
access_key_enabled=true
private key: keep it safe
sk_learn_pipeline_with_many_steps
sk-learn-pipeline-with-many-steps
no agent sketch_of_the_architecture
sk_learn.linear_model.LogisticRegression
pk_constraint_on_users_table
rk_four_integrator_step_size
re_send_the_message_again_please
hf_transfer_is_not_installed_here
fw_update_available_for_device
npm_config_registry is unset
sg.example.com answered
Authorization: please log in first
authorization: required
Authorization header is missing
Authorization failed for user bob
authorization=None
authorized: yes
author: Anna Schmidt
author=Anna
authors: Anna, Bob
authentication: failed
auth: none
auth=basic
auth_method=password
Bearer of bad news
bearer authentication is required
The bearer token is missing
Basic understanding of statistics
Basic authentication is off
basic JavaScript and HTML
Cookie: a small sweet biscuit
cookie: chocolate
cookies: accepted
session: 3 of 5
session=Session(engine)
session closed: timeout
signature: def f(x: int) -> int
signature: (request, members)
signature mismatch: expected 2 arguments
sig: int
design: simple
assign: bob
pin: the map
pins: 4
code: 404
code=404, message=not found
status code: 503
error code: E1042
country_code=DE
otp: not required
credentials: missing
credentials are read from the environment
Check your credentials: the server refused them
cred: none
webhook: https://example.com/hooks/new-orders
salt: a pinch
nonce: none
passphrase: not needed
connection string: see the docs
http://localhost:8080/v1/chat
http://user@example.com/path
https://example.com:8443/users/@bob
https://example.com/a/b?page=2&sort=name
https://github.com/celery/celery/issues/1234
https://medium.com/@bob/how-to-write
redis://localhost:6379/0
redis://:***@localhost:6379/0
redis://***@localhost:6379/0
sqlite:///path/journal.db
sqlite:////var/lib/agents/journal.db
postgresql://localhost/agents
mailto:bob@example.com
bob@example.com wrote: hello
git@github.com:celery/celery.git
ssh://git@github.com/celery/celery.git
//cdn.example.com/x@2.0.1/y.js
npm i react@18.2.0
ratio 3:4@2x
12:30:45
2026-11-27T14:50:00.123456+00:00
commit 94ee0dd8c1b3a5f7e9d1c2b3a4f5e6d7c8b9a0f1
sha256:{_HEX}
digest={_HEX}
etag: "{_HEX[:32]}"
run 7d2a9c4b-8e3f-46a5-9d1c-0b7e2f9a4d8b was cancelled
id={_HEX[:32]}
run_id=7d2a9c4b8e3f46a59d1c0b7e2f9a4d8b
trace_id={_HEX[:32]} span_id={_HEX[:16]}
version=2.31.0rc1
model=gpt-4o-mini-2024-07-18
claude-sonnet-4-5-20250929 answered
meta-llama/Llama-3.3-70B-Instruct-Turbo
text-embedding-3-large, 3072 dimensions
/usr/lib/python3.11/site-packages/celery/app/trace.py
C:\\Users\\bob\\AppData\\Local\\Temp
app.journal.migrations.versions.0001_the_journal
agents.voting.rules.plurality.leader
  File "app/execution/task.py", line 42, in run
ValueError: not enough values to unpack (expected 2, got 1)
ConnectionError: Error 111 connecting to localhost:6379. Connection refused.
{{'agent': 'desk', 'input': 'hello', 'timeout_s': 5}}
{{"choices": ["yes", "no"], "rule": "majority"}}
SELECT id, state FROM steps WHERE token = :token
UPDATE steps SET token = token + 1 WHERE id = $1
INSERT INTO users (name, password) VALUES (:name, :password)
CREATE USER bob WITH PASSWORD :password
docker run -u 1000:1000 image
curl -u $USER:$PASSWORD https://example.com
--password is required
--token-limit 4096
--key value
Usage: login [--password PASSWORD]
price: $12.50, 50% off
a + b = c, x != y
data:image/png;base64,iVBORw0KGgo=
Ein Schlüssel: aus Messing
パスワード: 必須です
El secreto: paciencia
x = dict(token=token, key=key, secret=secret)
logprobs: token ' the' -0.12
The answer is 42, the key point: nobody knows
Key findings: revenue grew by 12%
Secret Santa: bring a gift
token bucket: 10 per second
token-bucket=10
rate limit tokens: 5/s
access: denied
access_log=/var/log/access.log
refresh: 30s
client_id=desk
client: desk-worker-12
private: true
privateKey: null
licence: MIT
license: Apache-2.0
license_key: null
""".strip("\n").split("\n")
    if line
]
