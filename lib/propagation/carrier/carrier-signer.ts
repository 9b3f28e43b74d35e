import { createHmac, timingSafeEqual } from 'node:crypto';

/** Tells the signatures of this purpose from others that the same secret may make. */
const PURPOSE = 'nestjs-async-context carrier 1\n';
const HASH_BYTES = 32;
/** SHA-256 as base64url. */
const SIGNATURE_LENGTH = 43;

/** Signs what travels, so that the other side knows that it was one of us. */
export class CarrierSigner {
  readonly length = SIGNATURE_LENGTH;
  readonly #secrets: readonly [string, ...string[]];

  /** The first secret signs; all are accepted, so that a secret can be replaced without a gap. */
  constructor(secrets: readonly [string, ...string[]]) {
    this.#secrets = secrets;
  }

  sign(text: string): string {
    return hmac(this.#secrets[0], text).toString('base64url');
  }

  /** Takes the same time whatever is wrong. */
  fits(text: string, signature: string): boolean {
    const given = Buffer.from(signature, 'base64url');
    // Characters that are none of base64url are skipped: then it is shorter, and may not be compared.
    return (
      signature.length === SIGNATURE_LENGTH &&
      given.length === HASH_BYTES &&
      this.#secrets.some(secret => timingSafeEqual(hmac(secret, text), given))
    );
  }
}

function hmac(secret: string, text: string): Buffer {
  return createHmac('sha256', secret).update(PURPOSE).update(text).digest();
}
