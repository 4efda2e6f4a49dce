"""The paper's cost model: a deep Gaussian process of GPflux, MAP, and its prediction in numpy."""
