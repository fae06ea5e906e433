"""Kinds of secrets, each made anew from a seed, and how files of many kinds give a value to a name."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable, Iterator, Sequence

Make = Callable[[random.Random], str]

_LETTERS = string.ascii_letters + string.digits
_UPPER, _LOWER, _HEX = (
    string.ascii_uppercase + string.digits,
    string.ascii_lowercase + string.digits,
    "0123456789abcdef",
)
_WIDE = _LETTERS + "_-"


def _of(form: str) -> Make:
    """Make text of a form: `{LETTERS 36}` and the like stand for random characters, the rest for itself."""
    alphabets = {
        "LETTERS": _LETTERS,
        "UPPER": _UPPER,
        "LOWER": _LOWER,
        "HEX": _HEX,
        "WIDE": _WIDE,
        "DIGITS": string.digits,
    }

    def make(chance: random.Random) -> str:
        made = ""
        for piece in form.split("{"):
            inside, closed, rest = piece.partition("}")
            if not closed:
                made += inside
                continue
            alphabet, count = inside.split()
            made += "".join(chance.choices(alphabets[alphabet], k=int(count))) + rest
        return made

    return make


def _base64(count: int, before: bytes = b"") -> Make:
    return lambda chance: base64.b64encode(before + chance.randbytes(count)).decode("ascii")


def _web_token(chance: random.Random) -> str:
    def part(text: bytes) -> str:
        return base64.urlsafe_b64encode(text).decode("ascii").rstrip("=")

    claims = b'{"sub":"%d","name":"%s"}' % (chance.randrange(10**9), _of("{LOWER 12}")(chance).encode())
    return ".".join((part(b'{"alg":"HS256","typ":"JWT"}'), part(claims), part(chance.randbytes(32))))


TOKENS: dict[str, Make] = {
    "AWS access key id": _of("AKIA{UPPER 16}"),
    "AWS temporary key id": _of("ASIA{UPPER 16}"),
    "Google API key": _of("AIza{WIDE 35}"),
    "Google OAuth secret": _of("GOCSPX-{WIDE 28}"),
    "Google OAuth token": _of("ya29.a0{WIDE 120}"),
    "Azure client secret": _of("{LETTERS 3}8Q~{LETTERS 34}"),
    "Azure storage key": lambda chance: base64.b64encode(chance.randbytes(57)).decode()[:76] + "+AStR" + "Q" * 3 + "==",
    "Alibaba key id": _of("LTAI{LETTERS 20}"),
    "DigitalOcean": _of("dop_v1_{HEX 64}"),
    "Heroku": _of("HRKU-{HEX 8}-{HEX 4}-{HEX 4}-{HEX 4}-{HEX 12}"),
    "Terraform Cloud": _of("{LETTERS 14}.atlasv1.{LETTERS 67}"),
    "Vault": _of("hvs.{WIDE 90}"),
    "Doppler": _of("dp.pt.{LETTERS 43}"),
    "Databricks": _of("dapi{HEX 32}"),
    "Supabase": _of("sbp_{HEX 40}"),
    "PlanetScale": _of("pscale_pw_{LETTERS 43}"),
    "Tailscale": _of("tskey-auth-{LETTERS 12}CNTRL-{LETTERS 32}"),
    "GitHub": _of("ghp_{LETTERS 36}"),
    "GitHub server": _of("ghs_{LETTERS 36}"),
    "GitHub OAuth": _of("gho_{LETTERS 36}"),
    "GitHub user": _of("ghu_{LETTERS 36}"),
    "GitHub refresh": _of("ghr_{LETTERS 76}"),
    "GitHub fine grained": _of("github_pat_{LETTERS 22}_{LETTERS 59}"),
    "GitLab": _of("glpat-{WIDE 20}"),
    "GitLab deploy": _of("gldt-{WIDE 20}"),
    "GitLab runner": _of("glrt-{WIDE 20}"),
    "Atlassian": _of("ATATT3xFfGF0{WIDE 176}=A1B2C3D4"),
    "Bitbucket": _of("ATBB{LETTERS 32}"),
    "npm": _of("npm_{LETTERS 36}"),
    "PyPI": _of("pypi-AgEIcHlwaS5vcmc{WIDE 140}"),
    "RubyGems": _of("rubygems_{HEX 48}"),
    "crates.io": _of("cio{LETTERS 32}"),
    "NuGet": _of("oy2{LOWER 43}"),
    "Docker Hub": _of("dckr_pat_{WIDE 27}"),
    "SonarQube": _of("squ_{HEX 40}"),
    "Anthropic": _of("sk-ant-api03-{WIDE 93}AA"),
    "OpenAI": _of("sk-{LETTERS 48}"),
    "OpenAI project": _of("sk-proj-{WIDE 120}"),
    "OpenRouter": _of("sk-or-v1-{HEX 64}"),
    "Hugging Face": _of("hf_{LETTERS 34}"),
    "Replicate": _of("r8_{LETTERS 37}"),
    "Groq": _of("gsk_{LETTERS 52}"),
    "xAI": _of("xai-{LETTERS 80}"),
    "Perplexity": _of("pplx-{LETTERS 48}"),
    "NVIDIA": _of("nvapi-{WIDE 64}"),
    "Slack bot": _of("xoxb-{DIGITS 12}-{DIGITS 12}-{LETTERS 24}"),
    "Slack user": _of("xoxp-{DIGITS 12}-{DIGITS 12}-{DIGITS 12}-{HEX 32}"),
    "Slack app": _of("xapp-1-A{UPPER 10}-{DIGITS 13}-{HEX 64}"),
    "Slack webhook": _of("https://hooks.slack.com/services/T{UPPER 10}/B{UPPER 10}/{LETTERS 24}"),
    "Discord webhook": _of("https://discord.com/api/webhooks/1{DIGITS 18}/{WIDE 68}"),
    "Discord bot": _of("MT{LETTERS 24}.G{LETTERS 5}.{WIDE 38}"),
    "Telegram": _of("7{DIGITS 9}:AA{WIDE 33}"),
    "Twilio key": _of("SK{HEX 32}"),
    "Twilio account": _of("AC{HEX 32}"),
    "SendGrid": _of("SG.{WIDE 22}.{WIDE 43}"),
    "Mailgun": _of("key-{HEX 32}"),
    "Mailchimp": _of("{HEX 32}-us12"),
    "Brevo": _of("xkeysib-{HEX 64}-{LETTERS 16}"),
    "Stripe": _of("sk_live_{LETTERS 24}"),
    "Stripe restricted": _of("rk_live_{LETTERS 99}"),
    "Stripe test": _of("sk_test_{LETTERS 24}"),
    "Stripe webhook": _of("whsec_{LETTERS 32}"),
    "Square": _of("sq0atp-{WIDE 22}"),
    "Square OAuth": _of("sq0csp-{WIDE 43}"),
    "Shopify": _of("shpat_{HEX 32}"),
    "Sentry": lambda chance: "sntrys_" + _base64(90)(chance),
    "New Relic": _of("NRAK-{UPPER 27}"),
    "Grafana": _of("glsa_{LETTERS 32}_{HEX 8}"),
    "Linear": _of("lin_api_{LETTERS 40}"),
    "Notion": _of("ntn_{LETTERS 46}"),
    "Notion, old": _of("secret_{LETTERS 43}"),
    "Figma": _of("figd_{WIDE 40}"),
    "Airtable": _of("pat{LETTERS 14}.{HEX 64}"),
    "Postman": _of("PMAK-{HEX 24}-{HEX 34}"),
    "Dropbox": _of("sl.{WIDE 135}"),
    "Facebook": _of("EAA{LETTERS 120}"),
    "Twitter bearer": _of("AAAAAAAAAAAAAAAAAAAAA{LETTERS 80}"),
    "age": _of("AGE-SECRET-KEY-1{UPPER 58}"),
    "JSON web token": _web_token,
    "private key in base64": _base64(600, b"-----BEGIN RSA PRIVATE KEY-----\n"),
    "bcrypt": _of("$2b$12${LETTERS 53}"),
    "crypt of /etc/shadow": _of("$6${LETTERS 16}${LETTERS 86}"),
    "Apache's crypt": _of("$apr1${LETTERS 8}${LETTERS 22}"),
    "Laravel key": lambda chance: "base64:" + _base64(32)(chance),
}
"""Tokens with a recognizable form: planted under a neutral name."""


def _password(chance: random.Random) -> str:
    made = [chance.choice(part) for part in (string.ascii_lowercase, string.ascii_uppercase, string.digits, "!@^*+?")]
    made += chance.choices(_LETTERS + "!@^*+?", k=chance.randrange(5, 12))
    chance.shuffle(made)
    return "p" + "".join(made)


def _short_password(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_lowercase, k=6)).title() + _of("{DIGITS 3}")(chance)


NAMED: dict[str, tuple[Sequence[str], Make]] = {
    "AWS secret key": (("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "secretAccessKey"), _base64(30)),
    "API key": (("api_key", "API_KEY", "apiKey", "x-api-key", "ApiKey"), _of("{LETTERS 40}")),
    "API key, hexadecimal": (("api_key", "DD_API_KEY", "datadogApiKey", "api-key"), _of("{HEX 32}")),
    "API key, short": (("api_key", "APIKEY", "mapsApiKey"), _of("{LETTERS 16}")),
    "secret key": (("SECRET_KEY", "secretKey", "secret-key", "django_secret_key"), _of("{LETTERS 50}")),
    "signing key": (("signing_key", "SIGNING_KEY", "jwtSigningKey"), _of("{HEX 64}")),
    "encryption key": (("encryption_key", "ENCRYPTION_KEY", "encryptionKey"), _base64(32)),
    "private key": (("private_key", "PRIVATE_KEY", "privateKey"), _of("0x{HEX 64}")),
    "account key": (("AccountKey", "account_key", "STORAGE_ACCOUNT_KEY"), _base64(64)),
    "a vendor's key": (("COHERE_KEY", "openaiKey", "maps_key"), _of("{LETTERS 40}")),
    "client secret": (("client_secret", "CLIENT_SECRET", "clientSecret"), _of("{WIDE 40}")),
    "secret": (("secret", "APP_SECRET", "webhookSecret"), _of("{HEX 40}")),
    "secret_key_base": (("secret_key_base", "SECRET_KEY_BASE"), _of("{HEX 128}")),
    "auth token": (("auth_token", "AUTH_TOKEN", "authToken", "authtoken"), _of("{LETTERS 32}")),
    "access token": (("access_token", "ACCESS_TOKEN", "accessToken"), _of("{WIDE 43}")),
    "token, a UUID": (("postmark_server_token", "POSTMARK_TOKEN"), _of("{HEX 8}-{HEX 4}-4{HEX 3}-a{HEX 3}-{HEX 12}")),
    "credentials": (("credentials", "CREDENTIALS"), _base64(24)),
    "password": (("password", "PASSWORD", "dbPassword", "Password", "smtp-password"), _password),
    "password, short": (("password", "DB_PASSWORD", "userPassword"), _short_password),
    "pwd": (("pwd", "DB_PWD", "mysqlPwd"), _password),
    "passwd": (("passwd", "ROOT_PASSWD", "userPasswd"), _password),
    "pass": (("DB_PASS", "db_pass", "smtpPass"), _password),
    "password, in other languages": (
        (
            "mot_de_passe",
            "mdp",
            "contrasena",
            "contraseña",
            "senha",
            "wachtwoord",
            "lösenord",
            "haslo",
            "heslo",
            "пароль",
        ),
        _password,
    ),
    "pre-shared key": (("psk", "WIFI_PSK", "wpaPsk"), _password),
    "passphrase": (("passphrase", "KEY_PASSPHRASE", "keyPassphrase"), _of("{LETTERS 20}")),
    "WordPress salt": (("AUTH_SALT", "NONCE_SALT", "SECURE_AUTH_KEY"), _of("{LETTERS 30}|~+{LETTERS 31}")),
}
"""Values that stand under a name that says what they are."""

SPOKEN: dict[str, tuple[str, Make]] = {
    "bearer token": ("Authorization: Bearer {}", _of("{LETTERS 40}")),
    "basic authorization": ("Authorization: Basic {}", _base64(24)),
    "database URL": ("postgres://app:{}@db.internal:5432/app", _of("{LETTERS 14}")),
    "Redis URL": ("redis://:{}@cache.internal:6379/0", _of("{LETTERS 20}")),
    "MongoDB URL": ("mongodb+srv://app:{}@cluster0.abcde.mongodb.net/app", _of("{LOWER 12}")),
    "URL with a password": ("https://deploy:{}@git.internal/team/app.git", _of("{LETTERS 20}")),
    "connection string": ("Server=db;Database=app;User Id=sa;Password={};Encrypt=true", _of("{LETTERS 14}")),
    "JDBC": ("jdbc:sqlserver://db:1433;user=sa;password={};database=app", _of("{LETTERS 14}")),
    "Azure connection string": (
        "DefaultEndpointsProtocol=https;AccountName=app;AccountKey={};EndpointSuffix=core.windows.net",
        _base64(64),
    ),
    "service bus": ("Endpoint=sb://app.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={}", _base64(32)),
    "shared access signature": (
        "https://app.blob.core.windows.net/c?sv=2022-11-02&sig={}&se=2030-01-01",
        _of("{LETTERS 43}%3D"),
    ),
    ".netrc line": ("machine api.internal login deploy password {}", _of("{LETTERS 20}")),
    "curl": ("curl -u deploy:{} https://api.internal/v1", _of("{LETTERS 16}")),
    "SQL": ("CREATE USER app IDENTIFIED BY '{}'", _of("{LETTERS 14}")),
    "PowerShell": ('ConvertTo-SecureString "{}" -AsPlainText -Force', _password),
    "SMTP": ('server.login("me@app.internal", "{}")', _password),
    "wireless network": ('WiFi.begin("home", "{}");', _password),
    "one-time passwords": ('pyotp.TOTP("{}")', lambda chance: base64.b32encode(chance.randbytes(20)).decode("ascii")),
    "Fernet": ('Fernet(b"{}")', lambda chance: base64.urlsafe_b64encode(chance.randbytes(32)).decode("ascii")),
    "symmetric JSON web key": ('{{"kty": "oct", "k": "{}"}}', _of("{WIDE 43}")),
    "command line": ("login --user deploy --password {} --quiet", _of("{LETTERS 16}")),
}
"""Secrets within a longer text: a comment, a string or a line of its own."""


def blocks(chance: random.Random) -> Iterator[tuple[str, str, str, str]]:
    """Kind, file name, text and secret of what has several lines."""
    body = "\n".join(_base64(48)(chance) for _ in range(12))
    for kind in ("RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", ""):
        text = f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"
        yield f"PEM, {kind}PRIVATE KEY", "settings.py", f'KEY = """{text}"""', body
        folded = text.replace("\n", "\\n")
        line = folded[folded.index("\\n") :][2:80]
        yield f"PEM in a string, {kind}PRIVATE KEY", "settings.ts", f'const pem = "{folded}";', line
        yield "PEM in YAML", "values.yaml", "tls: |\n" + "\n".join(f"    {one}" for one in text.split("\n")), body
    text = f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{body}\n-----END PGP PRIVATE KEY BLOCK-----"
    yield "PGP", "sign.sh", f"cat <<EOF\n{text}\nEOF", body
    lines = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 12\n{}\nPrivate-MAC: {}"
    yield "PuTTY", "key.rb", "KEY = <<~END\n" + lines.format(body, _of("{HEX 64}")(chance)) + "\nEND", body
    made = _password(chance)
    yield "password in a block of YAML", "app.yaml", f"password: >-\n  {made}", made
    vault = "\n".join(" " * 10 + _of("{HEX 80}")(chance) for _ in range(8))
    yield "Ansible vault", "site.yml", f"value: !vault |\n          $ANSIBLE_VAULT;1.1;AES256\n{vault}", vault
    made = _base64(30)(chance)
    pem = f"-----BEGIN PRIVATE KEY-----\\n{body.replace(chr(10), chr(92) + 'n')}\\n-----END PRIVATE KEY-----"
    yield "service account of Google", "app.json", f'"type": "service_account",\n"private_key": "{pem}",', body
    yield "registry login of Docker", "app.json", f'"auths": {{"registry.internal": {{"auth": "{made}"}}}},', made
    yield "kubeconfig", "app.yaml", f"users:\n- name: admin\n  user:\n    token: {made}", made
    yield "secret of Kubernetes", "app.yaml", f"env:\n- name: DB_PASSWORD\n  value: {made}", made
    yield "appSettings", "App.cs", f'/// <add key="ApiSecret" value="{made}" />', made


ASSIGNMENTS: dict[str, Sequence[str]] = {
    "settings.py": (
        '{n} = "{v}"',
        "{n}: str = '{v}'",
        'config["{n}"] = "{v}"',
        'connect(host, {n}="{v}")',
        '    "{n}": "{v}",',
        'os.environ.setdefault("{n}", "{v}")',
    ),
    "settings.ts": (
        'const {n} = "{v}";',
        "const {n}: string = '{v}';",
        "  {n}: '{v}',",
        '  "{n}": `{v}`,',
        'const key = process.env.{n} || "{v}";',
    ),
    "settings.go": ('const {n} = "{v}"', 'var {n} string = "{v}"', '\t{n} := "{v}"', '\t\t{n}: "{v}",'),
    "Settings.java": ('static final String {n} = "{v}";', 'properties.put("{n}", "{v}");'),
    "Settings.cs": ('public const string {n} = "{v}";', 'settings["{n}"] = "{v}";'),
    "settings.rs": ('const {n}: &str = "{v}";', 'let {n} = String::from("{v}");', '    {n}: "{v}".to_string(),'),
    "settings.rb": ("{n} = '{v}'", "  {n}: '{v}',", "  '{n}' => '{v}',"),
    "settings.php": ("${n} = '{v}';", "define('{n}', '{v}');", "'{n}' => '{v}',"),
    "settings.json": ('  "{n}": "{v}",',),
    "settings.yaml": ("{n}: {v}", '  {n}: "{v}"', "  - {n}={v}"),
    "settings.toml": ('{n} = "{v}"', "{n} = '{v}'"),
    "settings.sh": ("export {n}={v}", "{n}='{v}'", 'docker run -e {n}="{v}" app', "run --{n} {v}", "{n}=${{{n}:-{v}}}"),
    "Dockerfile": ("ENV {n}={v}", "ENV {n} {v}", 'ARG {n}="{v}"'),
    "settings.env.example": ("{n}={v}", '{n}="{v}"'),
    "settings.ini": ("{n} = {v}", "{n}={v}"),
    "settings.xml": ("<{n}>{v}</{n}>", '<add key="{n}" value="{v}"/>', '<server {n}="{v}"/>'),
}
"""How languages give a value to a name."""
NEUTRAL = ("value", "header", "x", "item")
COMMENTS = {"settings.ts": "//", "settings.go": "//", "Settings.java": "//", "Settings.cs": "//", "settings.rs": "//"}
BETWEEN = {"settings.json": '  "port": {},', "settings.xml": "<port>{}</port>", "settings.yaml": "port{0}: {0}"}
