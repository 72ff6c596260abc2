"""Texts with data of persons in ten countries, and texts that only look like it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.support.ordinary_texts import ORDINARY

ROOT = Path(__file__).parents[2]
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "IN", "BR", "JP")

#: By country: sentences with a place for a phone's number, the numbers, and names of mail.
_COUNTRIES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "US": (
        ("Call me at {} after five.", "My number is {}, thanks!", "{} is the best way to get me"),
        ("(415) 555-2671", "212-736-5000", "650.253.0000", "+1 202 456 1111", "1-800-692-7753"),
        ("john.q.public@example.com", "o'brien+news@mail.example.org", "j_doe99@sub.example.co"),
    ),
    "GB": (
        ("Ring {} please", "You can reach me on {}.", "mobile: {}"),
        ("020 7946 0018", "+44 20 7946 0958", "07911 123456", "0161 496 0000", "07400123456"),
        ("emma.o-neill@example.co.uk", "info@firm.example.uk", "a@b.example.org"),
    ),
    "DE": (
        ("Bitte rufen Sie mich unter {} an.", "Tel.: {}", "Handy {} oder Büro"),
        ("+49 30 901820", "030 901820", "0171 2345678", "+49 (0)89 636 48018", "0049 211 8370"),
        ("jürgen.müller@exämple.de", "anna-lena@beispiel.example.com", "h.m@kanzlei.example.de"),
    ),
    "FR": (
        ("Appelez-moi au {} demain.", "Mon portable : {}", "tél. {}"),
        ("06 12 34 56 78", "01.42.68.53.00", "+33 1 42 68 53 00", "0612345678", "+33612345678"),
        (
            "hélène.lefèvre@exemple.fr",
            "marc.dupont@laposte.example.net",
            "contact@ville.example.fr",
        ),
    ),
    "ES": (
        ("Llámame al {} cuando puedas", "Mi móvil es {}.", "teléfono {}"),
        ("612 34 56 78", "+34 912 34 56 78", "912 345 678", "+34 612345678", "0034 612 34 56 78"),
        ("maría.lópez@ejemplo.es", "jose_garcia@correo.example.es", "ventas@tienda.example.es"),
    ),
    "IT": (
        ("Mi chiami al {} grazie", "Il mio cellulare: {}", "telefono {}"),
        ("06 6982 1234", "+39 06 6982 1234", "347 123 4567", "+39 347 1234567", "02 1234 5678"),
        ("giulia.rossi@esempio.it", "l.bianchi@pec.example.it", "ufficio@comune.example.it"),
    ),
    "NL": (
        ("Bel me op {} alstublieft", "Mijn mobiel is {}", "telefoon {}"),
        ("020 794 0800", "+31 20 794 0800", "06 12345678", "+31 6 12345678", "0612345678"),
        ("jan.de.vries@voorbeeld.nl", "sanne@bedrijf.example.nl", "k.bakker@mail.example.nl"),
    ),
    "IN": (
        ("Please call {} before noon", "My mobile no is {}", "WhatsApp {}"),
        ("+91 98765 43210", "+91-22-2778-2183", "09876543210", "+91 9123456789", "98765 43210"),
        ("priya.sharma@example.in", "rahul_k@mail.example.co.in", "support@shop.example.in"),
    ),
    "BR": (
        ("Meu telefone é {}.", "Ligue para {} hoje", "celular: {}"),
        (
            "(11) 96123-4567",
            "+55 11 96123-4567",
            "(21) 2345-6789",
            "+55 21 2345-6789",
            "11 96123-4567",
        ),
        ("joão.silva@exemplo.com.br", "ana_paula@mail.example.br", "vendas@loja.example.com.br"),
    ),
    "JP": (
        ("電話は{}です", "連絡先:{}", "携帯 {}"),
        ("03-1234-5678", "090-1234-5678", "+81 3-1234-5678", "+81 90 1234 5678", "06-6123-4567"),
        ("taro.yamada@example.jp", "hanako@会社.example.jp", "suzuki_k@mail.example.co.jp"),
    ),
}
#: The examples of SWIFT's registry.
_IBANS = (
    "DE89 3704 0044 0532 0130 00",
    "DE89370400440532013000",
    "GB29 NWBK 6016 1331 9268 19",
    "GB29NWBK60161331926819",
    "FR14 2004 1010 0505 0001 3M02 606",
    "FR1420041010050500013M02606",
    "ES91 2100 0418 4502 0005 1332",
    "IT60 X054 2811 1010 0000 0123 456",
    "IT60X0542811101000000123456",
    "NL91 ABNA 0417 1643 00",
    "NL91ABNA0417164300",
    "BR18 0036 0305 0000 1000 9795 493C 1",
    "MT84MALT011000012345MTLCAST001S",
    "CH93 0076 2011 6238 5295 7",
    "BE68 5390 0754 7034",
    "NO93 8601 1117 947",
    "PL61 1090 1014 0000 0712 1981 2874",
    "SE45 5000 0000 0583 9825 7466",
    "at61 1904 3002 3457 3201",
    "SA03-8000-0000-6080-1016-7519",
)
#: Numbers that issuers and payment services publish for tests.
_CARDS = (
    *("4111 1111 1111 1111", "4012888888881881", "4242-4242-4242-4242", "4000056655665556"),
    *("5555 5555 5555 4444", "5105105105105100", "2223 0031 2200 3222", "5200828282828210"),
    *("378282246310005", "3714 496353 98431", "3782-822463-10005", "6011111111111117"),
    *("6011 0009 9013 9424", "3056 930902 5904", "36227206271667", "3566 0020 2036 0505"),
    *("3530111333300000", "6200000000000005", "6759649826438453", "2200 0000 0000 0004"),
)
_SSNS = (
    *("My SSN is 536-90-4399.", "ssn 536904399", "Social security number: 219-45-1234"),
    *("SSN: 001 23 4567", "the applicant (SSN 665-12-9876)", "he gave 123-45-6789 as his number"),
    *("SSN=432-11-0099", "Social Security 287 65 4321"),
)
_IPS = (
    *("login from 81.2.69.142", "client 203.0.113.77 was blocked", "ip 10.20.30.40"),
    *("2001:db8:85a3::8a2e:370:7334 asked", "host 198.51.100.23:8080", "[2001:db8:0:1::5]:443"),
    *("from 1.1.1.7", "93.184.216.34 - - GET /", "Meine IP: 91.198.174.192."),
)


def positives() -> list[tuple[str, str]]:
    """Texts with the kind of what is in each; at least 200."""
    found: list[tuple[str, str]] = []
    for sentences, numbers, names in _COUNTRIES.values():
        found += [("phone", sentences[at % 3].format(n)) for at, n in enumerate(numbers)]
        found += [("phone", sentences[(at + 1) % 3].format(n)) for at, n in enumerate(numbers)]
        found += [("email", f"Write to {name}, please.") for name in names]
        found += [("email", f"<{name}>") for name in names]
    found += [("iban", f"Konto {account}.") for account in _IBANS]
    found += [("card", f"I paid with {card} (12/27)") for card in _CARDS]
    found += [("ssn", text) for text in _SSNS]
    found += [("ip", text) for text in _IPS]
    return found


_LOOKALIKES = """
version 1.2.3.4.5|upgrade to 2.10.0.1|v10.4.2.17|netmask 255.255.255.0|listen on 127.0.0.1:8080
bind 0.0.0.0:80|chapter 1.2.3.4|RGB 255 255 255|ratio 16:9, 4:3|12:34:56 local time
00:1A:2B:3C:4D:5E|std::vector<int>|a::b::c|fe::de|it is 10:20:30:40 since|image@2x.png
git@github.com:org/repo.git|npm install pkg@1.2.3|@decorator.name|user@host|foo @ bar.com
https://user:pa55@host.example.com/x|a@b|me@localhost|x@@y.com|@anna and @bob.smith
part no. 536-00-4399|batch 900-12-3456|666-12-3456|SKU 123-45-6789-0|000-12-3456
078-05-1120 stood on wallets|987-65-4321|536-90-0000|zip 94105-1234
order 4111 1111 1111 1112|4242424242424241|1234 5678 9012 3456|0000 0000 0000 0000
IMEI 490154203237518|EAN 4006381333931|ISBN 978-3-16-148410-0|ISBN 0-306-40615-2
DE88 3704 0044 0532 0130 00|GB29NWBK60161331926810|XX12 3456 7890 1234 5678|FR76 is a prefix
1Z999AA10123456784|tracking 9400 1000 0000 0000 0000 00|RR123456789US|JD014600003812345678
1,234,567.89 EUR|$12,345,678|1.234.567,89|1 234 567 890 people|3.14159265358979|6.02214076e23
2026-11-27 06:20:18|20261127T062018Z|27.11.2026|11/27/2026|1732700418|1732700418000
2024-10-12-000123|invoice 2024-10-12-000123|2024/10/12 0001|INV-2024-000123|RE 2024 000123
40.712776, -74.005974|N 48° 51' 24" E 2° 21' 03"|47°36'22.35"|UTM 33 456789 5678901
#48213|order #4821300|ticket 1234567890|case 0123456789|serial 5CG1234ABC|model 990-1234-567
chr1:1234567-1234890|rs123456789|NM_000546.6|CAS 7732-18-5|E. coli K-12 4641652
SELECT 1000000 + 2345678|0x7fffffffe4c8|0b10101010101|1e10|1_000_000_000|int64 9223372036854775807
ff00ff 00ff00|#ff8800|d41d8cd98f00b204e9800998ecf8427e|da39a3ee5e6b4b0d3255bfef95601890afd80709
port 8080, 8443 and 9090|in 1939-1945 and 1914-1918|pages 100-200|5-7 days, 10-14 weeks
score 3:2 (1:1, 2:1)|10 x 20 x 30 cm|1920x1080|4-4-2 formation|24/7 since 2001|7-11 shops
12 345 678|1 2 3 4 5 6 7 8 9 10|10 20 30 40 50 60|1. 2. 3. 4. 5. 6. 7.|3 000 000 km
ISO 9001:2015|RFC 2616, 7230-7235|EN 60601-1-2|§ 433 Abs. 1 BGB|Art. 6 (1) f|1/2 3/4 5/8
AS64500|VLAN 100-200|MTU 1500|2.4 GHz 5.8 GHz|192 kB of 1024 kB|0.30000000000000004
doi:10.1000/182|arXiv:2301.12345|PMID 12345678|ORCID 0000-0002-1825-0097|VAT DE123456789
EORI GB123456789000|SIRET 73282932000074|CNPJ 11.222.333/0001-81|GSTIN 22AAAAA0000A1Z5
ABN 51 824 753 556|HRB 12345|BIC DEUTDEFF500|sort code 12-34-56|routing 021000021
"""


def traps() -> list[str]:
    """Texts without any, at least 500."""
    found = [text.strip() for line in _LOOKALIKES.strip().splitlines() for text in line.split("|")]
    found += [line for line in ORDINARY if "@" not in line]
    found += list(_inbox())
    found += list(_made(random.Random(7)))
    return found


def _inbox() -> Iterator[str]:
    for line in (ROOT / "examples" / "inbox.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield max(line.split("\t"), key=len)


def _made(rng: random.Random) -> Iterator[str]:
    """Yield numbers of things, each as its own makers write them."""
    for _ in range(30):
        day = f"{rng.randint(1990, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        yield f"due {day} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        yield f"order {rng.randint(10**6, 10**10)}"
        yield f"step {uuid.UUID(int=rng.getrandbits(128), version=4)}"
        yield f"version {rng.randint(0, 20)}.{rng.randint(0, 99)}.{rng.randint(0, 9999)}"
        yield f"total {rng.randint(10**6, 10**9):,}.{rng.randint(0, 99):02} EUR"
        yield f"commit {rng.getrandbits(160):040x}"
        yield f"tracking {rng.randint(10**11, 10**12)}"
        yield f"SKU {rng.randint(100, 999)}-{rng.randint(1000, 9999)}-{rng.randint(10, 99)}"
        yield f"{rng.uniform(-90, 90):.6f}, {rng.uniform(-180, 180):.6f}"
        yield f"{rng.randint(10**9, 2 * 10**9)} seconds"
