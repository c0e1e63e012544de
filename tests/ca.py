"""A CA, for the scripts that start a gateway with TLS: OpenSSL's."""

import base64
import hashlib
import subprocess


class Ca:
    """Keeps its key and certificate in a folder."""

    def __init__(self, folder):
        self.key, self.certificate = folder / "ca.key", folder / "ca.pem"
        self.folder = folder
        extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        self.openssl(
            *["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7", "-subj", "/CN=tests"],
            *["-keyout", self.key, "-out", self.certificate],
            *[word for extension in extensions for word in ("-addext", extension)],
        )

    def sign(self, request):
        """The chain for a PKCS #10 request, in PEM; what the request asks for is granted."""
        asked, signed = self.folder / "request.pem", self.folder / "signed.pem"
        asked.write_bytes(request)
        # Also checks the request's own signature.
        self.openssl(
            *["x509", "-req", "-in", asked, "-days", "7", "-copy_extensions", "copy", "-out", signed],
            *["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"],
        )
        return signed.read_bytes() + self.certificate.read_bytes()

    def issue(self, name):
        """A certificate for a name and its key: two files."""
        certificate, key, request = (self.folder / f"{name}.{kind}" for kind in ["pem", "key", "csr"])
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key]
        self.openssl("req", "-new", *curve, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out", request)
        certificate.write_bytes(self.sign(request.read_bytes()))
        return certificate, key

    @classmethod
    def pin(cls, certificate):
        """`tls_fingerprint` of a certificate's key."""
        key = cls.openssl("x509", "-in", certificate, "-noout", "-pubkey")
        der = base64.b64decode("".join(line for line in key.decode().splitlines() if not line.startswith("-")))
        return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()

    @staticmethod
    def openssl(*words):
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout
