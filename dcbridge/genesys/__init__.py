"""The wires of Genesys: payloads and signatures."""
