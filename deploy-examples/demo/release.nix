# Which release the demo fleet is at: 1 is good, 2 answers 500 on h3, 3 cuts h2 off the network.
"1"
