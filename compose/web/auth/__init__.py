"""Who is it: sessions of browsers, the ways to sign in, and what operators alone may do."""
