"""The page (Streamlit). `app.py` is the script that Streamlit runs; one module for each entry of its menu."""
