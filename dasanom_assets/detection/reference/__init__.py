"""The reference model: fitted, cross-fitted, stored; what it promises, and whether ground has drifted."""
